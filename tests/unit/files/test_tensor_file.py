"""Tensor files: the safetensors library's, a piece at a time, whole or absent, damage in a line."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from refusals import refused
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from plsc.files import tensor_file
from plsc.files.tensor_file import TensorFile, file_bytes, read_tensors, write_tensors

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, min_side=0))
)


class Bfloat16:
    """Rows as the head gives them: bits, and a name for their type."""

    dtype = "bfloat16"

    def __init__(self, bits):
        self.bits, self.shape = bits, bits.shape

    def __getitem__(self, rows):
        return self.bits[rows]


@settings(max_examples=80)
@given(st.dictionaries(st.text(max_size=8), ARRAYS, max_size=5), st.sampled_from([1, 7, 2**20]))
def test_the_library_reads_what_is_written_and_the_other_way(tmp_path_factory, tensors, piece):
    tensors = {name: array for name, array in tensors.items() if name != "__metadata__"}
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_file, "PIECE_BYTES", piece)
        write_tensors(folder / "ours", tensors)
    assert (folder / "ours").stat().st_size == file_bytes(tensors)
    save_file({name: array.copy() for name, array in tensors.items()}, folder / "theirs")
    for read in (load_file(folder / "ours"), read_tensors(folder / "theirs")):
        assert read.keys() == tensors.keys()
        for name, array in tensors.items():
            assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
            assert read[name].tobytes() == array.tobytes()
    with TensorFile(folder / "ours") as file:
        for name, array in tensors.items():
            for start in range(len(array) if array.ndim else 0):
                rows = file.rows(name, start, min(start + 2, len(array)))
                assert rows.tobytes() == array[start : start + 2].tobytes()


def test_metadata_is_no_tensor(tmp_path):
    save_file({"a": np.ones(3)}, tmp_path / "file", metadata={"format": "pt"})
    assert list(read_tensors(tmp_path / "file")) == ["a"]


def test_bfloat16_is_written_as_such(tmp_path):
    values = np.array([[1.0, -2.5], [0.0078125, 3e38]], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    write_tensors(tmp_path / "file", {"w": Bfloat16(bits), "x": values})
    with safe_open(tmp_path / "file", framework="numpy") as file:
        assert file.get_slice("w").get_dtype() == "BF16"
    with TensorFile(tmp_path / "file") as file:
        assert file.tensors["w"].dtype == "bfloat16"
        np.testing.assert_array_equal(file.rows("w", 0, 2), bits)
        kept = (bits.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_array_equal(file.array("w"), kept)


def test_no_more_than_a_piece_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_file, "PIECE_BYTES", 100)
    asked = []

    class Rows:
        shape, dtype = (1000, 3), np.dtype(np.float32)

        def __getitem__(self, rows):
            asked.append(rows.stop - rows.start)
            return np.arange(3 * rows.start, 3 * rows.stop, dtype=np.float32).reshape(-1, 3)

    told = []
    write_tensors(tmp_path / "file", {"w": Rows()}, written=told.append)
    assert max(asked) == 8 and sum(asked) == 1000 and sum(told) == 12000
    np.testing.assert_array_equal(load_file(tmp_path / "file")["w"].ravel(), np.arange(3000))


def test_a_write_cut_short_leaves_the_file_that_was_there(tmp_path):
    write_tensors(tmp_path / "file", {"w": np.ones(4)})

    class Fails:
        shape, dtype = (4,), np.dtype(np.float64)

        def __getitem__(self, rows):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tensors(tmp_path / "file", {"w": Fails()})
    np.testing.assert_array_equal(load_file(tmp_path / "file")["w"], np.ones(4))


def with_header(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_a_file_cut_anywhere(tmp_path):
    path = tmp_path / "file"
    write_tensors(path, {"w": np.ones((3, 2), np.float32), "empty": np.ones((0, 2))})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(lambda: read_tensors(path), path)
    path.write_bytes(content + b"x")
    refused(lambda: read_tensors(path), path, f"{len(content) + 1} bytes")


def entry(start=0, stop=8, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "header",
    [
        {"w": entry(stop=7)},
        {"w": entry(shape=(3,))},
        {"w": entry(shape=(-2,))},
        {"w": entry(shape=(2.0,))},
        {"w": entry(shape=(True, 2))},
        {"w": entry(start=-8, stop=0)},
        {"w": entry(dtype="F31")},
        {"w": entry(dtype=[])},
        {"w": entry(8, 16)},
        {"w": entry(), "v": entry()},
        {"w": entry(0, 4, (1,))},
        {"w": entry(0, 16, (4,))},
        {"w": entry(0, 2**70, (2**68,))},
        {"w": {**entry(), "data_offsets": [0]}},
        {"w": {"dtype": "F32"}},
        {"w": 3},
        {},
        [],
        3,
        b"\xff\xfe",
        b"",
        b"{",
        b"[" * 100_000,
    ],
    ids=lambda header: str(header)[:40],
)
def test_a_damaged_header(tmp_path, header):
    with_header(tmp_path / "file", header, bytes(8))
    refused(lambda: read_tensors(tmp_path / "file"), tmp_path / "file")


def test_the_same_header_undamaged(tmp_path):
    with_header(tmp_path / "file", {"w": entry()}, bytes(8))
    assert read_tensors(tmp_path / "file")["w"].tolist() == [0, 0]


def test_a_length_that_is_none(tmp_path):
    for length in (2**63, 2**64 - 1, 10**8 + 1, 9):
        (tmp_path / "file").write_bytes(length.to_bytes(8, "little") + bytes(8))
        refused(lambda: read_tensors(tmp_path / "file"), tmp_path / "file")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "pipe", "."):
        refused(lambda name=name: read_tensors(tmp_path / name), tmp_path / name)


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_in_a_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(content)
    refused(lambda: read_tensors(path), path)
