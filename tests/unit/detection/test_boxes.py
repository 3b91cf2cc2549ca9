"""Anchors, coding and the choice among overlapping boxes are the published ones."""

import numpy as np
import pytest
from detectors import figures, share

from plsc.detection import boxes
from plsc.detection.anchors import anchors_of, num_anchors
from plsc.detection.detections import detections_of, suppress

EVERY = 20  # anchors of the golden file
SIZES = [(640, 640), (840, 840), (160, 192), (168, 204), (150, 203), (33, 17), (1024, 683)]


@pytest.fixture(scope="module")
def golden():
    return figures("boxes.npz")


@pytest.mark.parametrize("size", [*SIZES, (2160, 2160)], ids=str)
def test_anchors(golden, size):
    name, anchors = f"priors_{size[0]}x{size[1]}", anchors_of(*size)
    assert len(anchors) == num_anchors(*size) == golden[f"{name}_count"]
    rows = anchors[golden[f"{name}_index"]]
    np.testing.assert_allclose(rows, golden[f"{name}_rows"], atol=1e-6)
    sums = anchors.sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(sums, golden[f"{name}_sum"], rtol=1e-6)


def test_coding_and_its_inverse(golden):
    anchors = anchors_of(160, 192)[::EVERY]
    encoded = boxes.encode_boxes(golden["code_boxes"], anchors)
    points = boxes.encode_landmarks(golden["code_landmarks"], anchors)
    assert share(encoded, golden["code_encoded"]) <= 1e-5
    assert share(points, golden["code_encoded_landmarks"]) <= 1e-5
    decoded = boxes.decode_boxes(golden["code_raw"], anchors)
    assert share(decoded, golden["code_decoded"]) <= 1e-5
    points = boxes.decode_landmarks(golden["code_raw_landmarks"], anchors)
    assert share(points, golden["code_decoded_landmarks"]) <= 1e-5
    back = boxes.decode_boxes(encoded, anchors)
    np.testing.assert_allclose(back, golden["code_boxes"], atol=1e-5)


def test_a_box_without_sides_is_coded_finitely():
    box = np.array([[0.5, 0.5, 0.5, 0.4]], np.float32)
    assert np.isfinite(boxes.encode_boxes(box, anchors_of(32, 32)[:1])).all()


def test_detections(golden):
    """A network's outputs at a size with odd maps, for an image that had been enlarged."""
    height, width = golden["post2_size"].tolist()
    count = num_anchors(height, width)
    outputs = {}
    for name, theirs in (("bbox", "loc"), ("score", "prob"), ("landmark", "landm")):
        values = golden[f"post2_{theirs}"]
        outputs[name] = np.zeros((count, values.shape[1]), np.float32)
        outputs[name][golden["post2_rows"]] = values
    found = detections_of(outputs, (height, width), scale=float(golden["post2_resize"]))
    np.testing.assert_array_equal(found.anchors, golden["post2_anchor"])
    np.testing.assert_allclose(found.boxes, golden["post2_dets"][:, :4], atol=1e-2)
    np.testing.assert_allclose(found.scores, golden["post2_dets"][:, 4], atol=1e-6)
    points = found.landmarks.reshape(-1, 10)[::10]
    np.testing.assert_allclose(points, golden["post2_landmarks"], atol=1e-2)


@pytest.mark.parametrize("overlap", [0.2, 0.4, 0.7])
def test_the_best_of_overlapping_boxes(golden, overlap):
    """With boxes that overlap by exactly 0.4, which stay at 0.4, and boxes of one pixel."""
    given = golden["nms_boxes"]
    order = np.argsort(-given[:, 4], kind="stable")
    kept = order[suppress(given[order, :4], overlap)]
    np.testing.assert_array_equal(kept, golden[f"nms_keep_{overlap}"])


def test_nothing_found():
    count = num_anchors(40, 30)
    outputs = {"bbox": np.zeros((count, 4), np.float32), "score": np.zeros((count, 2), np.float32),
               "landmark": np.zeros((count, 10), np.float32)}  # fmt: skip
    found = detections_of(outputs, (40, 30))
    assert found.boxes.shape == (0, 4) and found.landmarks.shape == (0, 5, 2)
    assert found.scores.shape == found.anchors.shape == (0,)
