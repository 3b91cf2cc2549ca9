"""Makes the index of a `.rec` file that has none, by a walk from record to record."""

import hashlib
import os
import secrets
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plsc.data.lists.text_lines import MOST_DIGITS
from plsc.data.records.recordio import HEADER, MAGIC, RecordFile
from plsc.errors import UserError
from plsc.files.atomic import replacing
from plsc.files.locks import next_holder
from plsc.files.progress import progress_bar

MEGABYTE = 10**6
RECORDS_AT_ONCE = 10_000


def find_index(file: RecordFile) -> Path:
    """Return the `.idx` of a record file; if there is none, make one by a scan, with progress.

    It is made beside the file, or, where that cannot be written, in `$XDG_CACHE_HOME/plsc` (or
    `~/.cache/plsc`), under a name that changes with the file. Of several processes one scans and
    the others wait for it.

    Raises:
        UserError: the record file is damaged (names file and byte), or neither place can be
            written.

    """
    places, refused = [file.path.with_suffix(".idx")], []
    if os.path.isfile(places[0]):
        return places[0]
    try:
        places.append(_in_cache(file.path))
    except RuntimeError:
        refused.append("this user has no home folder")
    if os.path.isfile(places[-1]):
        return places[-1]
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with next_holder(place.with_name(f"{place.name}.lock")):
                if not os.path.isfile(place):  # else another process has made it meanwhile
                    _write_whole(file, place)
            return place
        except OSError as error:
            refused.append(f"{place}: {error.strerror}")
    raise UserError(
        f"{file.path}: there is no index, and none can be written ({'; '.join(refused)}): make one "
        "of these folders writable, or set XDG_CACHE_HOME to one that is"
    )


def scan(file: RecordFile) -> Iterator[tuple[int, int]]:
    """Yield byte offset and header id of each record, in order; reads nothing but heads of parts.

    Raises:
        BadImage: a record is damaged or cut short; names the file and the byte.

    """
    offset = 0
    while offset < file.size:
        first, size = b"", -len(MAGIC)
        for begin, length, content in file.parts(offset, ahead=HEADER.size):
            first = first or content
            size += len(MAGIC) + length
            stop = begin + length + -length % 4
        if size < HEADER.size:
            raise file.fault(offset, None, f"{size} bytes are too few for a record's header")
        # A header that holds the magic itself is cut into parts.
        whole = len(first) == HEADER.size
        yield offset, HEADER.unpack(first)[2] if whole else file.read(offset).id
        offset = stop


def write_index(file: RecordFile, path: Path) -> None:
    """Scan `file` and write its `.idx`.

    Keys are the records' own ids if no two are equal, else their numbers in the file, from 0.

    Raises:
        BadImage: as `scan`.

    """
    ids = array("Q")
    with (
        open(path, "wb") as out,
        progress_bar(-(-file.size // MEGABYTE), "MB") as bar,
    ):
        bar.set_description(f"indexing {file.path.name}")
        lines: list[bytes] = []
        for offset, id_ in scan(file):
            ids.append(id_)
            lines.append(b"%d\t%d\n" % (id_, offset))
            if len(lines) == RECORDS_AT_ONCE:
                out.writelines(lines)
                lines.clear()
                bar.update(offset // MEGABYTE - bar.n)
        out.writelines(lines)
        bar.update(bar.total - bar.n)
    if not _distinct(ids):
        _number_from_0(path)


def _distinct(ids: array) -> bool:
    numbers = np.frombuffer(ids, np.uint64)
    numbers.sort()
    return bool((numbers[1:] != numbers[:-1]).all() and numbers[-1] < 10**MOST_DIGITS)


def _number_from_0(path: Path) -> None:
    numbered = path.with_name(f"{path.name}.numbered")
    with (
        replacing(path, partial=numbered, synced=False),
        open(path, "rb") as lines,
        open(numbered, "wb") as out,
    ):
        out.writelines(b"%d\t%s" % (key, line.split(b"\t")[1]) for key, line in enumerate(lines))


def _write_whole(file: RecordFile, place: Path) -> None:
    partial = place.with_name(f"{place.name}.partial-{secrets.token_hex(4)}")
    with replacing(place, partial=partial):
        write_index(file, partial)
        if not file.unchanged():
            raise UserError(f"{file.path}: changed while its index was made: start again")


def _in_cache(path: Path) -> Path:
    real = path.resolve()
    state = real.stat()
    name = hashlib.sha256(f"{real}\n{state.st_size}\n{state.st_mtime_ns}".encode()).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "plsc" / f"{name[:32]}.idx"
