"""AP, recall and landmark error, worked by hand; sizes at which images are searched."""

import numpy as np
import pytest
from detectors import figures

from plsc.detection.figures import average_precision, gathered_figures
from plsc.detection.search import find_faces, scales_of

FACES = np.array([[0, 0, 20, 20], [100, 0, 160, 60]], np.float64)
POINTS = np.stack([np.tile([[10.0, 10.0]], (5, 1)), np.full((5, 2), np.nan)])


def found(*rows):
    """Corners and score; landmarks at (13, 14), 5 pixels from where the first face has them."""
    points = np.tile([13.0, 14.0], 5)
    return np.array([[*row, *points] for row in rows]).reshape(-1, 15)


def test_all_found():
    result = gathered_figures([FACES], [POINTS], [found([*FACES[0], 0.9], [*FACES[1], 0.8])])
    assert (result["ap_50"], result["ap_50_95"], result["recall"]) == (1, 1, 1)
    assert result["nme"] == result["nme_0_24"] == pytest.approx(5 / 20)
    assert result["recall_0_24"] == result["recall_48_96"] == 1
    assert not {"nme_48_96", "recall_24_48", "recall_192_up"} & result.keys()


def test_second_boxes_and_false_ones_cost_precision():
    """In this order: false, found, the same once more, found: 1/2, 2/4 at recalls 1/2 and 1."""
    rows = found([300, 300, 320, 320, 0.9], [*FACES[0], 0.8], [*FACES[0], 0.7], [*FACES[1], 0.6])
    result = gathered_figures([FACES], [POINTS], [rows])
    assert result["ap_50"] == pytest.approx(0.5)


def test_boxes_of_all_images_compete_by_their_scores():
    first, second = found([*FACES[0], 0.5]), found([300, 300, 320, 320, 0.9])
    alone = gathered_figures([FACES[:1]], [POINTS[:1]], [first])
    both = gathered_figures([FACES[:1], FACES[:0]], [POINTS[:1], POINTS[:0]], [first, second])
    assert (alone["ap_50"], both["ap_50"]) == (1, 0.5)


def test_a_loose_box_counts_at_low_shares_only():
    """7 of 8 columns: it shares 0.875 of the union, and finds at 0.5, 0.55, ... 0.85."""
    result = gathered_figures([FACES[:1]], [POINTS[:1]], [found([0, 0, 17.5, 20, 0.9])])
    assert result["ap_50"] == 1 and result["ap_50_95"] == pytest.approx(0.8)


def test_a_box_takes_the_face_that_is_left():
    """Two faces close together, and a box for each that lies nearer to the first."""
    faces = np.array([[0, 0, 20, 20], [4, 0, 24, 20]], np.float64)
    rows = found([0, 0, 20, 20, 0.9], [1, 0, 21, 20, 0.8])
    result = gathered_figures([faces], [np.full((2, 5, 2), np.nan)], [rows])
    assert result["recall"] == 1 and "nme" not in result


def test_nothing_found_and_nothing_to_find():
    result = gathered_figures([FACES], [POINTS], [found()])
    assert (result["ap_50"], result["recall"]) == (0, 0)
    assert gathered_figures([FACES[:0]], [POINTS[:0]], [found([0, 0, 9, 9, 0.5])])["ap_50"] == 0
    assert average_precision(np.array([True, False, True]), 4) == pytest.approx((1 + 2 / 3) / 4)


@pytest.mark.parametrize(
    ("protocol", "key"), [("multi-scale", "mindface_multi"), ("mxnet", "pytorch_single")]
)
def test_published_sizes(protocol, key):
    for case in figures("schedules.json")["eval_resize"]:
        scales = scales_of(case["height"], case["width"], protocol)
        sizes = [[s, round(case["height"] * s), round(case["width"] * s)] for s in scales]
        np.testing.assert_allclose(sizes, case[key], rtol=1e-12)


def test_other_sizes():
    assert scales_of(100, 50, "original") == [1.0]
    assert scales_of(100, 1280, "vga") == [0.5] and scales_of(320, 100, "vga") == [2.0]


@pytest.mark.parametrize("protocol", ["original", "vga", "multi-scale"])
def test_places_are_in_pixels_of_the_image(protocol):
    """A network that finds one face at the anchor in the middle of what it is given."""
    from plsc.detection.anchors import anchors_of

    seen = []

    def network(images):
        height, width = images.shape[2:]
        seen.append((height, width))
        anchors = anchors_of(height, width)
        centre = np.abs(anchors[:, :2] - [64 / width, 32 / height]).sum(axis=1).argmin()
        score = np.zeros((1, len(anchors), 2), np.float32)
        score[0, centre, 1] = 0.9
        return {"bbox": np.zeros((1, len(anchors), 4), np.float32), "score": score,
                "landmark": np.zeros((1, len(anchors), 10), np.float32)}  # fmt: skip

    pixels = np.zeros((96, 128, 3), np.uint8)
    result = find_faces(network, pixels, protocol)
    scales = scales_of(96, 128, protocol)
    assert len(seen) == len(scales)
    for box, points in zip(result.boxes, result.landmarks, strict=True):
        centre = (box[:2] + box[2:]) / 2
        nearest = min(np.abs(centre - np.array([64, 32]) / scale).max() for scale in scales)
        assert nearest <= 4 / min(scales) + 1e-3
        np.testing.assert_allclose(points, np.tile(centre, (5, 1)), atol=1e-3)
