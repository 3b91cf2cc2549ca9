"""Each command refuses each kind of file that hangs readers or fills memory, in one line."""

import os
import pickle
import struct
import zlib
from importlib import import_module

import pytest
from refusals import error_line

LEVELS = 40  # of tuples that hold the one below twice: 2^40 leaves


def tuple_bomb() -> bytes:
    """A pickle of {bomb: 1}: `hash` of the key would never end."""
    doubled = b"".join(b"h%c\x86q%c" % (n, n + 1) for n in range(LEVELS))
    return b"\x80\x02}K\x01q\x00" + doubled + b"K\x01s."


def alias_bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


def merge_bomb() -> bytes:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    return "\n".join(lines).encode()


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


KINDS = {
    "bomb.bin": tuple_bomb(),
    "digits.bin": pickle.dumps(([b"x"] * 4, [10**4999, 1])),
    "aliases.yaml": alias_bomb(),
    "merges.yaml": merge_bomb(),
    "tag.yaml": b"a: !!timestamp x",
    "deep.yaml": b"[" * 10_000,
    "digits.yaml": b"Optimizer: {name: Momentum, head_lr_multiplier: " + b"9" * 400 + b"}",
    "huge.png": png_of(32_000, 32_000),
    "no_inputs.onnx": b"\x08\x08\x3a\x02\x12\x00\x42\x02\x10\x0d",
    "zeros.safetensors": b"\xff" * 8 + b"{}",
    "escape\x1b[2J.csv": b"\xff\xfe\x00\x01",
    "pipe": None,
}
COMMANDS = {
    "plsc-train": ("train", lambda bad: ["-c", bad]),
    "plsc-export": ("export", lambda bad: ["-c", bad]),
    "plsc-eval": ("evaluate", lambda bad: ["--model", bad, "--bin", bad]),
    "plsc-embed": ("embed", lambda bad: [bad, bad, "--out", "out.npy"]),
    "plsc-compare": ("compare", lambda bad: [bad, bad, bad]),
    "plsc-quality": ("quality", lambda bad: [bad, bad]),
    "plsc-widerface": (
        "widerface",
        lambda bad: ["--predictions", bad, "--ground-truth", bad],
    ),
    "plsc-data": ("data.main", lambda bad: ["check", bad]),
}


@pytest.mark.parametrize("kind", KINDS, ids=ascii)
@pytest.mark.parametrize("command", COMMANDS)
def test_one_line_and_status_2(command, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = KINDS[kind]
    if content is None:
        os.mkfifo(kind)  # whoever opens it for reading waits for ever
    else:
        (tmp_path / kind).write_bytes(content)
    module, arguments = COMMANDS[command]
    assert import_module(f"plsc.cli.{module}").main(arguments(kind)) == 2
    said = capsys.readouterr().err
    assert error_line(said, command) and "\x1b" not in said
    assert {path.name for path in tmp_path.iterdir()} == {kind}, "nothing was left behind"


@pytest.mark.parametrize(
    ("kind", "words"),
    [("bomb.bin", "references repeat more than"), ("digits.bin", "label of pair 0")],
)
def test_pickles_are_refused_as_sets(kind, words, tmp_path):
    """Not only because no model could be opened before them."""
    from plsc.data.sets.bin_file import read_bin
    from plsc.errors import UserError

    (tmp_path / kind).write_bytes(KINDS[kind])
    with pytest.raises(UserError, match=words):
        read_bin(tmp_path / kind)


def test_an_image_that_claims_too_much_is_not_decoded():
    from plsc.data.sets.base import BadImage
    from plsc.data.transforms.standard import decode

    with pytest.raises(BadImage, match="claims 32000x32000"):
        decode(KINDS["huge.png"])
