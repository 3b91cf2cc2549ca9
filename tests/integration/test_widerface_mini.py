"""Real weights on a WIDER FACE of six pictures, by two protocols; skipped where it is not here."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectors import outputs_of
from places import SHARED_DATA

from plsc.detection.datasets.validation import WiderFaceValidation
from plsc.detection.evaluator import DetectionEvaluator
from plsc.detection.models.retinaface import RetinaFace_MobileNet025
from plsc.detection.search import find_faces
from plsc.weights.pretrained import take_weights

FOLDER = SHARED_DATA / "widerface_mini"
WEIGHTS = SHARED_DATA / "retinaface_mobilenet025" / "mobilenet0.25_folded.pth"


@pytest.fixture(scope="module")
def network():
    if not (FOLDER.exists() and WEIGHTS.exists()):
        pytest.skip("real weights and pictures (../shared/data) are not here")
    net = RetinaFace_MobileNet025()
    take_weights(str(WEIGHTS), net)
    return lambda images: outputs_of(net, images)


@pytest.mark.parametrize(
    ("protocol", "key", "pixels", "only"),
    [
        ("original", "pytorch_original_size", 1, ""),
        ("original", "mindface_original_size", 1, ""),
        ("multi-scale", "mindface_multi_scale", 2, "biden"),
    ],
)
def test_predictions_of_the_references(network, protocol, key, pixels, only):
    expected = json.loads((FOLDER / "expected_eval.json").read_text())[key]["predictions"]
    for event, images in expected.items():
        for name, rows in images.items():
            if only not in name:
                continue  # five passes over 2160 x 2160 pixels take seconds
            path = FOLDER / "val" / "images" / event / f"{name}.jpg"
            found = find_faces(network, cv2.imread(str(path)), protocol)
            sure = found.scores > 0.3
            theirs = np.array(rows).reshape(-1, 5)
            theirs = theirs[theirs[:, 4] > 0.3]
            assert sure.sum() == len(theirs), name
            for box, score in zip(found.boxes[sure], found.scores[sure], strict=True):
                own = [*box[:2], *(box[2:] - box[:2])]
                apart = np.abs(theirs[:, :4] - own).max(axis=1)
                assert apart.min() <= pixels
                assert abs(theirs[apart.argmin(), 4] - score) <= 0.005


def test_average_precision(network):
    folder = FOLDER / "ground_truth"
    given = {"image_root": str(FOLDER / "val" / "images")}
    faces = str(folder / "wider_face_val.mat")
    official = WiderFaceValidation(faces, ground_truth=str(folder), **given)
    report = DetectionEvaluator(official, name="mini").report(network)
    assert {key: report[key] for key in ("easy", "medium", "hard")} == pytest.approx(
        {"easy": 1.0, "medium": 1.0, "hard": 1.0}, abs=1e-9
    )
    labels = Path(FOLDER / "train" / "label.txt")
    marked = WiderFaceValidation(str(labels))
    figures = DetectionEvaluator(marked, name="train").report(network)
    assert figures["ap_50"] > 0.9 and figures["nme"] < 0.06
