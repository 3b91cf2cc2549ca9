"""A digest of what an ONNX file computes, the same whatever notes it carries.

The file is read in protobuf's wire format, by its outermost fields: a model of gigabytes is neither
decoded nor held in memory, and the package onnx is not needed.
"""

import hashlib
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from plsc.errors import UserError
from plsc.files.mapped_file import regular
from plsc.inference.network import digest_of

# Fields of onnx.ModelProto that change no embedding.
NOTES = {2, 3, 4, 5, 6, 14}  # producer's name and version, domain, model version, doc, metadata
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# How a tensor names the file that it is in: {key: "location", value: name}.
LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


def onnx_digest(path: Path) -> str:
    """Return sha256 in hex of the model at `path` and of the files beside it with its weights.

    Raises:
        UserError: a file cannot be read.

    """
    digest = hashlib.sha256()
    try:
        with (
            open(path, "rb", opener=regular) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            memoryview(data) as view,
        ):
            names = {
                data[match.end() : match.end() + match[1][0]] for match in LOCATION.finditer(data)
            }
            for number, start, stop in _fields(view):
                if number not in NOTES:
                    digest.update(b"%d %d " % (number, stop - start))
                    with view[start:stop] as content:
                        digest.update(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, IndexError):  # not what the standard says; still a file
        return digest_of([path])
    beside = [path.parent / name.decode(errors="replace") for name in sorted(names)]
    return digest_of([file for file in beside if file.is_file()], also=digest.hexdigest())


def _fields(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Return number, begin and end of each outermost field of a message."""
    place = 0
    while place < len(data):
        start = place
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == VARINT:
            _, place = _varint(data, place)
        elif kind == BYTES:
            size, place = _varint(data, place)
            place += size
        elif kind in (FIXED32, FIXED64):
            place += 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if place > len(data):
            raise ValueError("cut short")
        yield tag >> 3, start, place


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
