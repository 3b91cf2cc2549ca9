"""A checkpoint of MindSpore is read without running anything, within bounds."""

import struct
import zlib

import numpy as np
import pytest
from mindspore_files import message, parameter
from refusals import refused

from plsc.files.mindspore_file import load_mindspore


def test_pieces_types_and_checksum(tmp_path):
    """A large parameter comes in pieces; bfloat16 is the upper half of a float32."""
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    half = (values.view(np.uint32) >> 16).astype(np.uint16)
    data = parameter("a", values, pieces=5) + parameter("b", half, kind="BFloat16")
    data += message((1, message((1, b"text"), (2, message((1, 3), (2, b"str"), (3, b"abc"))))))
    path = tmp_path / "x.ckpt"
    path.write_bytes(data + b"crc_num" + zlib.crc32(data).to_bytes(10, "big"))
    found = load_mindspore(path)
    assert found.keys() == {"a", "b"}
    for tensor in found.values():
        np.testing.assert_array_equal(tensor.array(), values)
    path.write_bytes(data + b"crc_num" + (zlib.crc32(data) ^ 1).to_bytes(10, "big"))
    refused(lambda: load_mindspore(path), "its checksum is another")


@pytest.mark.parametrize("cut", [1, 3, 17, 60])
def test_damaged_checkpoints_are_refused(tmp_path, cut):
    data, path = parameter("layer.weight", np.ones((4, 5), np.float32)), tmp_path / "x.ckpt"
    path.write_bytes(data[:-cut])
    refused(lambda: load_mindspore(path), path, "truncated, encrypted or damaged")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\n" + b"\xff" * 40, "number of more than"),
        (message((1, message((1, b"w"), (2, message((1, 2**62), (2, b"Float32")))))), "needs"),
        (parameter("w", np.ones(3, np.float32), kind="Complex64"), "type 'Complex64'"),
        (parameter("w", np.ones(2, np.float32)) + parameter("w", np.ones(3, np.float32)),
         "several shapes"),
        (message((1, message((1, b"\xff\xfe"), (2, b"")))), "not text"),
        (struct.pack("<BB", 0x0B, 1), "kind 3"),
    ],
)  # fmt: skip
def test_sizes_and_types_are_bounded(tmp_path, data, reason):
    path = tmp_path / "x.ckpt"
    path.write_bytes(data)
    refused(lambda: load_mindspore(path), path, reason)
