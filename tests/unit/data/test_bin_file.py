import pickle

import cv2
import numpy as np
import pytest

from plsc.data.sets.bin_file import read_bin
from plsc.errors import UserError
from plsc.recognition.datasets.face import FaceVerificationBin

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
IMAGES = [cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes() for pixels in PIXELS]


def write(path, content, protocol=4):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return str(path)


def as_array(image):
    return np.frombuffer(image, np.uint8)


@pytest.mark.parametrize("kind", [bytes, bytearray, as_array, np.void])
@pytest.mark.parametrize("issame", [[True, False], [1, 0], np.array([True, False]), (np.True_, 0)])
@pytest.mark.parametrize("protocol", [2, 4])
def test_the_forms_that_bin_files_have(tmp_path, kind, issame, protocol):
    path = write(tmp_path / "a.bin", ([kind(image) for image in IMAGES], issame), protocol)
    images, labels = read_bin(path)
    assert images == IMAGES and all(type(image) is bytes for image in images)
    assert labels.dtype == bool and list(labels) == [True, False]


def test_a_file_of_python_2(tmp_path):
    """Its images are byte strings, which Python 3 takes for text unless told otherwise."""
    part = b"".join(
        b"U" + bytes([len(image)]) + image for image in (b"\xff\xd8one", b"\xff\xd8two")
    )
    path = write(tmp_path / "a.bin", b"\x80\x02](" + part + b"e]\x88a\x86.")
    images, labels = read_bin(path)
    assert images == [b"\xff\xd8one", b"\xff\xd8two"] and list(labels) == [True]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((IMAGES[:3], [True, False]), "3 images for 2 pairs"),
        ((IMAGES[:3], [True]), "3 images for 1 pairs"),
        ((IMAGES[:1], []), "1 images for 0 pairs"),
        ((IMAGES, [True]), "4 images for 1 pairs"),
        (([], []), "0 images for 0 pairs"),
        ((IMAGES, [True, 2]), "label of pair 1 must be True or False, got 2"),
        ((IMAGES, [True, "x"]), "label of pair 1 must be True or False, got 'x'"),
        (([*IMAGES[:3], None], [True, False]), "image 3 must be .* bytes, not NoneType"),
        (([*IMAGES[:3], np.zeros(3)], [True, False]), "image 3 must be .* bytes, not ndarray"),
        ((IMAGES, 5), "must hold a list of images and one of pair labels, not list and int"),
        (IMAGES, "must hold images and pair labels, not list"),
        ({"bins": IMAGES}, "must hold images and pair labels, not dict"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, message):
    with pytest.raises(UserError, match=rf"a\.bin: {message}"):
        read_bin(write(tmp_path / "a.bin", content))


def test_verification_set(tmp_path):
    dataset = FaceVerificationBin(write(tmp_path / "a.bin", (IMAGES, [True, False])))
    assert len(dataset) == 4 and list(dataset.issame) == [True, False]
    for index, pixels in enumerate(PIXELS):
        image = dataset.get(index, np.random.default_rng(0))["images"]
        assert image.dtype == np.uint8 and np.array_equal(image, pixels)


def test_the_real_file(real_faces):
    dataset = FaceVerificationBin(str(real_faces / "orl_test.bin"))
    assert len(dataset) == 1200 and dataset.issame.sum() == 300
    image = dataset.get(0, np.random.default_rng(0))["images"]
    assert np.array_equal(image[..., 0], image[..., 2])  # grey
