"""`plsc-data records`: what is in a RecordIO file, record by record."""

import argparse
import hashlib
import itertools
import json
import math
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from plsc.cli.options import add_shared
from plsc.data.records.record_index import read_index
from plsc.data.records.record_scan import scan
from plsc.data.records.recordio import Record, RecordFile
from plsc.data.sets.record_images import rec_files
from plsc.errors import UserError

HELP = "what is in a .rec file: key, flag, labels, id, bytes, SHA-256"
DESCRIPTION = """Print one line per record of a .rec file, by ascending key, as it is read: key,
flag, labels, id, and how many bytes follow (an image file, or nothing).

In InsightFace's layout record 0 has flag 2, labels A,B and no bytes: 1 to A-1 are images, and A to
B-1 are identities, each with the keys of its images as labels (from the first up to, not including,
the second). Without an .idx the records come in the file's order, and their ids stand for keys."""
EXAMPLES = """examples:
  plsc-data records faces/train.rec --limit 5
  plsc-data records faces/train.rec --key 0
  plsc-data records faces/train.rec --sha256 > all.txt
  plsc-data records faces/train.rec --json | jq -c 'select(.payload_bytes < 1000)'

--json prints JSON Lines: one object per record with key, flag, labels, id, id2, payload_bytes and,
with --sha256, payload_sha256."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument("file", metavar="FILE.rec", help="a .rec file, or a folder with one")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N records")
    parser.add_argument("--key", type=int, metavar="K", help="only the record with this key")
    parser.add_argument("--sha256", action="store_true", help="print the bytes' SHA-256 too")
    add_shared(parser, "json", help="print JSON Lines")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand, return its exit status; records before a damaged one are printed."""
    if options.limit is not None and options.limit < 0:
        raise UserError(f"--limit must not be negative, got {options.limit}")
    file = RecordFile(single_rec_file(options.file))
    found = False
    for key, offset in itertools.islice(_places(file, options.key), options.limit):
        found = True
        entry = _entry(key, file.read(offset, key=key), digest=options.sha256)
        print(json.dumps(entry) if options.json else _line(entry))
    if options.key is not None and not found and options.limit != 0:
        raise UserError(f"{file.path}: has no record with key {options.key}")
    return 0


def single_rec_file(path: str | Path) -> Path:
    """Return the one `.rec` file at `path`.

    Raises:
        UserError: there is none, or several.

    """
    files = rec_files(path)
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UserError(f"{path}: has {len(files)} .rec files ({names:.200}): name one of them")
    return files[0]


def _places(file: RecordFile, wanted: int | None) -> Iterator[tuple[int, int]]:
    """Yield keys and byte offsets: all, or of one key."""
    path = file.path.with_suffix(".idx")
    if not path.exists():
        return ((id_, offset) for offset, id_ in scan(file) if wanted is None or id_ == wanted)
    index = read_index(path)
    if wanted is not None:
        row = bisect_left(index.keys, wanted)
        there = row < len(index.keys) and index.keys[row] == wanted
        index = index.rows(row, row + there)
    return ((int(key), int(at)) for key, at in zip(index.keys, index.offsets, strict=True))


def _entry(key: int, record: Record, *, digest: bool) -> dict[str, Any]:
    entry = {
        "key": key,
        "flag": record.flag,
        # JSON has no such numbers as nan and inf.
        "labels": [
            label if math.isfinite(label) else str(np.float32(label)) for label in record.labels
        ],
        "id": record.id,
        "id2": record.id2,
        "payload_bytes": len(record.payload),
    }
    if digest:
        entry["payload_sha256"] = hashlib.sha256(record.payload).hexdigest()
    return entry


def _line(entry: dict[str, Any]) -> str:
    labels = ",".join(
        f"{label:.9g}" if isinstance(label, float) else label for label in entry["labels"]
    )
    fields = [
        f"key {entry['key']}",
        f"flag {entry['flag']}",
        f"labels {labels}",
        f"id {entry['id']}",
        f"bytes {entry['payload_bytes']}",
    ]
    if "payload_sha256" in entry:
        fields.append(f"sha256 {entry['payload_sha256']}")
    return "\t".join(fields)
