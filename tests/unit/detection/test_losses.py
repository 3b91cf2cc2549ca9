"""Which anchor learns what, and the loss of it, are the published ones."""

import numpy as np
import pytest
from detectors import figures, golden_predictions, padded, share

from plsc.data.loader.batch import Batch
from plsc.detection.anchors import anchors_of
from plsc.detection.matching import match_images
from plsc.detection.sections import LossConfig
from plsc.detection.training import DetectionTraining

GOLDEN, FIGURES = figures("multibox.npz"), figures("multibox.json")
CASES = FIGURES["cases"]
SIZE = FIGURES["image_size"]
ANCHORS = anchors_of(SIZE, SIZE)
LOSSES = {"box_loss": "box", "class_loss": "classification", "landmark_loss": "landmark"}


def faces_of(case):
    names = [f"{case}/faces{image}" for image in range(len(CASES[case]["positives_per_image"]))]
    return [GOLDEN[name] for name in names]


def batch_of(images):
    return Batch({"images": np.zeros((len(images), 3, SIZE, SIZE), np.uint8), **padded(images)})


def trained(images, outputs, *, parts=1, settings=None):
    """The loss of a step, its parts by name, and the gradients of the outputs."""
    task, batch, total, named = DetectionTraining(settings or LossConfig()), batch_of(images), 0, {}
    task.begin_step(batch, step=0, fraction=0)
    size = len(images) // parts
    for number, part in enumerate(batch.split(parts)):
        rows = slice(number * size, (number + 1) * size)
        found = task.loss({name: value[rows] for name, value in outputs.items()}, part)
        found.objective.backward()
        total += float(found.logged)
        for name, value in found.statistics.items():
            named[name] = named.get(name, 0) + float(value) / parts
    return total, named, {name: value.grad.numpy() for name, value in outputs.items()}


@pytest.mark.parametrize("case", CASES)
def test_matching(case):
    targets = match_images(faces_of(case), ANCHORS)
    np.testing.assert_array_equal(targets.labels, GOLDEN[f"{case}/label"])
    positive = GOLDEN[f"{case}/positive"]
    np.testing.assert_array_equal(targets.rows, positive[:, 0] * len(ANCHORS) + positive[:, 1])
    assert [*map(np.count_nonzero, targets.labels)] == CASES[case]["positives_per_image"]
    if f"{case}/box_target" not in GOLDEN:
        return
    assert share(targets.boxes, GOLDEN[f"{case}/box_target"]) <= 1e-5
    known = targets.labels.ravel()[targets.rows] > 0
    expected = GOLDEN[f"{case}/landmark_target"][known]
    assert share(targets.landmarks[known], expected) <= 1e-5


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(case, parts):
    """In one part or in two: what is divided by counts matches of the whole step."""
    images, expected = faces_of(case), CASES[case]
    outputs = golden_predictions(expected["prediction_seed"], len(images))
    total, named, gradients = trained(images, outputs, parts=parts)
    assert total == pytest.approx(expected["total"], rel=1e-5)
    for ours, theirs in LOSSES.items():
        assert named[ours] == pytest.approx(expected[theirs], rel=1e-5)
    used = np.zeros(gradients["score"].shape[:2], bool)
    used[tuple(GOLDEN[f"{case}/class_used"].T)] = True
    np.testing.assert_array_equal(gradients["score"].any(axis=-1), used)
    if f"{case}/grad_box" not in GOLDEN:
        return
    places = {"bbox": "positive", "landmark": "positive", "score": "class_used"}
    names = {"bbox": "grad_box", "landmark": "grad_landmark", "score": "grad_class"}
    for name, place in places.items():
        whole = np.zeros_like(gradients[name])
        whole[tuple(GOLDEN[f"{case}/{place}"].T)] = GOLDEN[f"{case}/{names[name]}"]
        assert share(gradients[name], whole) <= 1e-5


def test_weights_and_negatives_are_the_config_s():
    images = faces_of("plain")
    seed = CASES["plain"]["prediction_seed"]
    settings = LossConfig(loc_weight=0.5, class_weight=3.0, landm_weight=0.0, neg_pre_positive=3)
    total, named, gradients = trained(images, golden_predictions(seed, 2), settings=settings)
    assert total == pytest.approx(0.5 * named["box_loss"] + 3 * named["class_loss"], rel=1e-6)
    assert not gradients["landmark"].any()
    used = gradients["score"].any(axis=-1).sum(axis=1)
    assert used.tolist() == [4 * count for count in CASES["plain"]["positives_per_image"]]


@pytest.mark.parametrize(
    "images",
    [
        [np.zeros((0, 15)), np.zeros((0, 15))],
        [np.zeros((0, 15)), faces_of("plain")[0]],
        [np.array([[0.5, 0.5, 0.5, 0.5, *[0.5] * 10, 1]]), faces_of("plain")[0]],
        [np.array([[0.2, 0.2, 0.6, 0.7, *[np.nan] * 10, -1]]), np.zeros((0, 15))],
    ],
    ids=["no faces", "none in one", "one without size", "no landmarks"],
)
def test_images_with_little_to_learn(images):
    """All outputs have gradients, and finite ones; an image without faces has none that counts."""
    total, _, gradients = trained(images, golden_predictions(1, 2))
    assert np.isfinite(total)
    for gradient in gradients.values():
        assert np.isfinite(gradient).all()
    for index, faces in enumerate(images):
        assert gradients["score"][index].any() == (faces.size > 0 and faces[0, 2] > faces[0, 0])


def test_a_face_that_fits_two_anchors_alike():
    """It lies within anchors 0 and 2, both of 16 pixels, and is a quarter of each: the first."""
    box = np.array([4, 0, 12, 8]) / SIZE
    targets = match_images([np.array([[*box, *[0] * 10, 1]])], ANCHORS)
    assert targets.rows.tolist() == [0]
