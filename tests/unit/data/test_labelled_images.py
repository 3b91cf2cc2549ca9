import cv2
import numpy as np
import pytest
from memory_source import MemorySource

from plsc.data.sets.base import BadImage
from plsc.errors import UserError
from plsc.recognition.datasets.images import LabelledImages

RNG = np.random.default_rng(0)
BLACK = cv2.imencode(".png", np.zeros((112, 112, 3), np.uint8))[1].tobytes()


def source_of(labels, *, known=False, bad=()):
    rows = [(None if row in bad else BLACK, label) for row, label in enumerate(labels)]
    return MemorySource(rows, known=known, num_classes=max(labels) + 1 if known else None)


def dataset(source, on_bad="error"):
    return LabelledImages(source, None, on_bad)


@pytest.mark.parametrize(
    "ops", [[], ["ToCHWImage"], ["RandGreyImage", "DecodeImage", "ToCHWImage"]]
)
def test_transforms_that_do_not_begin_with_the_file(ops):
    with pytest.raises(UserError, match="^transform_ops must begin with DecodeImage"):
        LabelledImages(source_of([0]), ops, "error")


def test_known_labels_are_checked_at_once_and_without_reading():
    source = source_of([0, 4, 2], known=True)
    dataset(source).require_classes(5)
    with pytest.raises(UserError, match=r"class_num is 4 .* labels up to 4: set .* to 5 or more"):
        dataset(source).require_classes(4)
    assert source.asked == []


def test_unknown_labels_are_probed_from_the_first_to_the_last():
    source = source_of([0] * 4999 + [9])
    dataset(source).require_classes(10)
    assert source.asked[0] == 0 and source.asked[-1] == 4999 and len(source.asked) == 200
    assert np.diff(source.asked).max() < 30
    with pytest.raises(UserError, match="4999: label 9, but Model.class_num is 9: .* to 10"):
        dataset(source).require_classes(9)


def test_a_label_that_no_probe_met_is_refused_when_it_is_read():
    images = dataset(source_of([0] * 5 + [7] + [0] * 4994), on_bad="skip")
    images.require_classes(7)
    with pytest.raises(UserError, match="memory: 5: label 7, but Model.class_num is 7"):
        images.get(5, RNG)  # a mistake in the config is not skipped
    assert images.skipped == {} and images.get(4, RNG)["labels"] == 0


def test_a_bad_image_among_the_probes():
    source = source_of([0, 1, 2], bad=[1])
    with pytest.raises(BadImage, match="memory: 1: is gone"):
        dataset(source).require_classes(3)
    skipping = dataset(source, on_bad="skip")
    skipping.require_classes(3)
    assert skipping.get(1, RNG)["labels"] == 2 and skipping.skipped == {1: "memory: 1: is gone"}
