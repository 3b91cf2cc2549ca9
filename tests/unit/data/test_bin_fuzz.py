"""Damaged and hostile `.bin` files: data as promised or one line, never a crash, hang or effect."""

import os
import pickle
import resource

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import Calls, damaged

from plsc.cli.data.check import verification_set
from plsc.data.sets.bin_file import read_bin
from plsc.errors import UserError
from plsc.recognition.datasets.face import FaceVerificationBin

IMAGES = [cv2.imencode(".png", np.full((4, 4, 3), n, np.uint8))[1].tobytes() for n in range(4)]
ISSAME = [True, False]
ARRAYS = [np.frombuffer(image, np.uint8) for image in IMAGES]
SEEDS = [
    *(pickle.dumps((IMAGES, ISSAME), protocol) for protocol in (0, 2, 3, 4, 5)),
    pickle.dumps((ARRAYS, np.array(ISSAME)), 2),
    pickle.dumps(([bytearray(image) for image in IMAGES], (1, 0)), 4),
    pickle.dumps(([IMAGES[0]] * 4, ISSAME), 4),
]
LENGTHS = st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x80"])
OPERATIONS = st.sampled_from([b".", b"(", b"0", b"1", b"2", b"N", b"a", b"e", b"t", b"R", b"b"])
INSERTED = st.one_of(st.binary(max_size=6), LENGTHS, OPERATIONS)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("bin") / "a.bin"


def holds_its_promise(path):
    """Read the file; whether it was taken."""
    try:
        images, issame = read_bin(path)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith(f"{path}: ")
        return False
    assert isinstance(issame, np.ndarray) and issame.dtype == bool
    assert len(images) == 2 * len(issame) > 0
    assert all(type(image) is bytes for image in images)
    assert sum(map(len, set(images))) <= 8 * path.stat().st_size  # no reading past the end
    return True


@settings(max_examples=400)
@given(damaged(SEEDS, INSERTED))
def test_mutated_files(path, data):
    path.write_bytes(data)
    holds_its_promise(path)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x80\x02", b"\x80\x04\x95", b"(]"]))
def test_arbitrary_files(path, data, beginning):
    path.write_bytes(beginning + data)
    holds_its_promise(path)


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_every_truncation(path, number):
    for size in range(len(SEEDS[number])):
        path.write_bytes(SEEDS[number][:size])
        assert not holds_its_promise(path)
    path.write_bytes(SEEDS[number])
    assert holds_its_promise(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["image", "label", "images", "whole"])
def test_a_program_in_a_file_does_not_run(tmp_path, protocol, place):
    mark, path = tmp_path / "ran", tmp_path / "evil.bin"
    program = Calls(os.system, f"touch {mark}")
    content = {
        "image": ([*IMAGES[:3], program], ISSAME),
        "label": (IMAGES, [True, program]),
        "images": (program, ISSAME),
        "whole": program,
    }[place]
    path.write_bytes(pickle.dumps(content, protocol))
    for read in (read_bin, lambda path: FaceVerificationBin(str(path)), verification_set):
        with pytest.raises(UserError, match=r"evil\.bin: refused: it asks for posix\.system"):
            read(str(path))
    assert not mark.exists()


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF])
def test_a_length_beyond_the_end_takes_no_memory(path, length):
    wide = length > 0xFFFF_FFFF
    prefix = (pickle.BINBYTES8 if wide else pickle.BINBYTES) + length.to_bytes(
        8 if wide else 4, "little"
    )
    path.write_bytes(b"\x80\x04](" + prefix + b"\xff\xd8")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not holds_its_promise(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "the image is empty"),
        (b"GIF89a", "cannot be decoded"),
        (IMAGES[0][:-20], "the PNG is cut short"),
        (b"\xff\xd8\xff\xe0 cut", "the JPEG is cut short"),
    ],
)
def test_an_entry_that_is_no_image_is_named_by_its_number(tmp_path, bad, reason):
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps(([*IMAGES[:3], bad], ISSAME), 4))
    dataset = FaceVerificationBin(str(path))
    with pytest.raises(UserError, match=rf"a\.bin: image 3: {reason}") as caught:
        dataset.get(3, np.random.default_rng(0))
    assert "\n" not in str(caught.value)
