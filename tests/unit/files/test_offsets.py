"""Reads and room in a file, with the system's calls and without them."""

import os

import pytest

from plsc.files.offsets import read_at, read_into, reserve


@pytest.fixture(params=[(), ("preadv",), ("preadv", "pread", "posix_fallocate")])
def lacking(request, monkeypatch):
    """The calls that this system lacks."""
    for name in request.param:
        monkeypatch.delattr(os, name, raising=False)
    return request.param


def test_reads_are_of_the_offset_whatever_was_read_before(tmp_path, lacking):
    (tmp_path / "file").write_bytes(bytes(range(100)))
    memory = bytearray(8)
    with open(tmp_path / "file", "rb") as file:
        for offset in (90, 0, 40):
            assert read_at(file.fileno(), 5, offset) == bytes(range(offset, offset + 5))
            assert read_into(file.fileno(), memoryview(memory), offset) == 8
            assert memory == bytes(range(offset, offset + 8))
        assert read_at(file.fileno(), 5, 97) == bytes([97, 98, 99])
        assert read_into(file.fileno(), memoryview(memory), 98) == 2 and memory[:2] == b"bc"
        assert read_into(file.fileno(), memoryview(memory), 100) == 0


@pytest.mark.parametrize("size", [0, 7])
def test_room_is_zeros_after_what_is_there(tmp_path, lacking, size):
    with open(tmp_path / "file", "wb") as file:
        file.write(b"head")
        file.flush()
        reserve(file.fileno(), 4, size)
    assert (tmp_path / "file").read_bytes() == b"head" + bytes(size)
