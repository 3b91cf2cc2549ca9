import cv2
import numpy as np
import pytest

from plsc.errors import UserError
from plsc.recognition.datasets.face import (
    FaceIdentificationDataset,
    FaceRandomDataset,
    FaceVerificationDataset,
)

RNG = np.random.default_rng(0)


def write_image(path, number=0, *, size=(112, 112)):
    """A lossless image; its RGB pixels."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[:, :, ::-1])
    return pixels


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def image_and_label(dataset, index):
    sample = dataset.get(index, RNG)
    assert sample.keys() == {"images", "labels"}
    return sample["images"], sample["labels"]


def test_identification_set(tmp_path):
    inside = write_image(tmp_path / "images" / "a.png", 1)
    outside = write_image(tmp_path / "images" / "deep" / "b.png", 2)
    text = f"a.png\t5\n{tmp_path}/images/deep/b.png\t2\n"
    dataset = FaceIdentificationDataset(
        str(tmp_path / "images"), write(tmp_path / "label.txt", text)
    )
    assert (len(dataset), dataset.source.num_classes) == (2, 6)
    assert list(dataset.source.labels) == [5, 2]
    for index, pixels in enumerate([inside, outside]):
        image, label = image_and_label(dataset, index)
        assert image.dtype == np.uint8 and np.array_equal(image, pixels)
        assert (label, type(label)) == ([5, 2][index], int)


def identification(folder, names, **parameters):
    text = "".join(f"{name}\t{number}\n" for number, name in enumerate(names))
    path = write(folder / "label.txt", text)
    return FaceIdentificationDataset(str(folder), path, **parameters)


def test_an_image_of_another_size_is_named_with_the_remedy(tmp_path):
    write_image(tmp_path / "a.png", size=(100, 120))
    with pytest.raises(UserError, match=r"a\.png \(.*label\.txt:1\): .*100x120.*112x112: align"):
        identification(tmp_path, ["a.png"]).get(0, RNG)


def test_transforms_that_do_not_give_colours_first_are_named(tmp_path):
    write_image(tmp_path / "a.png")
    dataset = identification(tmp_path, ["a.png"], transform_ops=["DecodeImage"], on_bad="skip")
    with pytest.raises(UserError, match=r"shape \[112, 112, 3\]: end them with ToCHWImage"):
        dataset.get(0, RNG)
    assert dataset.skipped == {}  # a mistake in the config is not skipped image by image


def test_a_wrong_root_shows_at_once_and_a_missing_image_when_it_is_read(tmp_path):
    names = ["0.png", "1.png", "2.png", "3.png"]
    for name in names[:3]:
        write_image(tmp_path / name)
    dataset = identification(tmp_path, names)
    with pytest.raises(UserError, match=r"3\.png \(.*label\.txt:4\): cannot be read: No such file"):
        dataset.get(3, RNG)
    (tmp_path / "1.png").unlink()
    with pytest.raises(
        UserError, match=r"1\.png: no such file, .*label\.txt lists it: is image_root"
    ):
        identification(tmp_path, names)
    with pytest.raises(UserError, match="image_root: /nowhere is not a folder"):
        FaceIdentificationDataset("/nowhere", str(tmp_path / "label.txt"))


def test_a_zero_byte_in_a_path_is_an_unreadable_image(tmp_path):
    names = ["0.png", "1.png", "2.png", "a\0b.png"]
    for name in names[:3]:
        write_image(tmp_path / name)
    with pytest.raises(UserError, match=r"label\.txt:4\): cannot be read: embedded null byte"):
        identification(tmp_path, names).get(3, RNG)


def test_skip_takes_the_next_good_image_and_its_label(tmp_path):
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        write_image(tmp_path / name, number)
    write(tmp_path / "3.png", "junk")
    write_image(tmp_path / "4.png", size=(50, 50))
    dataset = identification(tmp_path, names, on_bad="skip")
    image, label = image_and_label(dataset, 3)
    assert label == 0 and np.array_equal(image, dataset.get(0, RNG)["images"])
    assert sorted(dataset.skipped) == [3, 4]
    assert "50x50" in dataset.skipped[4]
    for name in names:
        write(tmp_path / name, "junk")
    with pytest.raises(UserError, match=r"none of the 5 images can be read; first: .*2\.png"):
        dataset.get(2, RNG)


def test_verification_set(tmp_path):
    pixels = [write_image(tmp_path / f"{number}.png", number) for number in range(3)]
    path = write(tmp_path / "pairs.txt", "0.png\t1.png\t1\r\n\n2.png\t0.png\t0")
    dataset = FaceVerificationDataset(str(tmp_path), path)
    assert len(dataset) == 4
    assert dataset.issame.dtype == bool and list(dataset.issame) == [True, False]
    for index, number in enumerate([0, 1, 2, 0]):
        assert np.array_equal(dataset.get(index, RNG)["images"], pixels[number])


def test_noise():
    dataset = FaceRandomDataset(num_classes=7, num_images=500)
    assert len(dataset) == 500 and set(dataset.labels) == set(range(7))
    dataset.require_classes(7)
    with pytest.raises(UserError, match=r"Model\.class_num is 6 but .*num_classes is 7"):
        dataset.require_classes(6)
    image, label = image_and_label(dataset, 3)
    assert (image.dtype, image.shape) == (np.float32, (3, 112, 112))
    assert label == dataset.labels[3]
    assert -1 <= image.min() < -0.999 and 0.999 < image.max() <= 1
    assert abs(image.mean()) < 0.02 and abs(image.std() - 3**-0.5) < 0.01
    assert np.array_equal(image, dataset.get(3, np.random.default_rng(9))["images"])
    assert not np.array_equal(image, dataset.get(4, RNG)["images"])
    assert len(FaceRandomDataset(num_classes=2)) == 51200
