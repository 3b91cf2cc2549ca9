import cv2
import numpy as np
import pytest

from plsc.data.sets.base import BadImage, ImageSource
from plsc.errors import UserError
from plsc.recognition.datasets.images import LabelledImages

RNG = np.random.default_rng(0)


class Remembered(ImageSource):
    """Images in memory; their labels are known beforehand or not."""

    def __init__(self, labels, *, known=False, bad=()):
        self.labels = np.array(labels) if known else None
        self.num_classes = max(labels) + 1 if known else None
        self.asked = []
        self._labels, self._bad = labels, bad
        self._image = cv2.imencode(".png", np.zeros((112, 112, 3), np.uint8))[1].tobytes()

    def __len__(self):
        return len(self._labels)

    def read(self, index):
        self.asked.append(index)
        if index in self._bad:
            raise BadImage(f"{self.where(index)}: cut short")
        return self._image, self._labels[index]

    def where(self, index):
        return f"place {index}"

    def name(self, index):
        return str(index)


def dataset(source, on_bad="error"):
    return LabelledImages(source, None, on_bad)


@pytest.mark.parametrize(
    "ops", [[], ["ToCHWImage"], ["RandGreyImage", "DecodeImage", "ToCHWImage"]]
)
def test_transforms_that_do_not_begin_with_the_file(ops):
    with pytest.raises(UserError, match="^transform_ops must begin with DecodeImage"):
        LabelledImages(Remembered([0]), ops, "error")


def test_known_labels_are_checked_at_once_and_without_reading():
    source = Remembered([0, 4, 2], known=True)
    dataset(source).require_classes(5)
    with pytest.raises(UserError, match=r"class_num is 4 .* labels up to 4: set .* to 5 or more"):
        dataset(source).require_classes(4)
    assert source.asked == []


def test_unknown_labels_are_probed_from_the_first_to_the_last():
    source = Remembered([0] * 4999 + [9])
    dataset(source).require_classes(10)
    assert source.asked[0] == 0 and source.asked[-1] == 4999 and len(source.asked) == 200
    assert np.diff(source.asked).max() < 30
    with pytest.raises(UserError, match="place 4999: label 9, but Model.class_num is 9: .* to 10"):
        dataset(source).require_classes(9)


def test_a_label_that_no_probe_met_is_refused_when_it_is_read():
    images = dataset(Remembered([0] * 5 + [7] + [0] * 4994), on_bad="skip")
    images.require_classes(7)
    with pytest.raises(UserError, match="place 5: label 7, but Model.class_num is 7"):
        images.get(5, RNG)  # a mistake in the config is not skipped
    assert images.skipped == {} and images.get(4, RNG)["labels"] == 0


def test_a_bad_image_among_the_probes():
    source = Remembered([0, 1, 2], bad=[1])
    with pytest.raises(BadImage, match="place 1: cut short"):
        dataset(source).require_classes(3)
    skipping = dataset(source, on_bad="skip")
    skipping.require_classes(3)
    assert skipping.get(1, RNG)["labels"] == 2 and skipping.skipped == {1: "place 1: cut short"}
