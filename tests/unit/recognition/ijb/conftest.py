"""A release of drawn faces, a small ONNX model, and its scores by other means."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from ijb_release import MadeRelease, make_release
from onnx import helper
from onnx_models import images, vectors, write_model

DIM, POOL = 24, 8


def model_weights() -> np.ndarray:
    random = np.random.default_rng(8)
    return random.normal(0, 0.1, (3 * (112 // POOL) ** 2, DIM)).astype(np.float32)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """Means of squares of 8 x 8 pixels, times a matrix."""
    size = {"kernel_shape": [POOL] * 2, "strides": [POOL] * 2}
    nodes = [
        helper.make_node("AveragePool", ["data"], ["means"], **size),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    path, made = tmp_path_factory.mktemp("model") / "small.onnx", vectors("embedding", "N", DIM)
    return write_model(path, nodes, given=images(), made=made, weights={"weights": model_weights()})


@pytest.fixture(scope="session")
def made_release(tmp_path_factory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("made") / "IJBC")


@pytest.fixture
def release(tmp_path, made_release) -> MadeRelease:
    """One's own, to be changed."""
    shutil.copytree(made_release.root, tmp_path / "IJBC")
    return replace(copy.deepcopy(made_release), root=tmp_path / "IJBC")


@pytest.fixture
def plain_scores():
    """The expected scores of a release, by other means: see `expected_scores`."""
    return expected_scores


def expected_scores(
    made: MadeRelease,
    *,
    flip: bool = True,
    detector: bool = True,
    pooling: str = "magnitude",
    quality=None,
) -> np.ndarray:
    """Each pair's score, in float64 loops: own landmarks' fit, own network, own pooling."""
    wanted = np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366]]
        + [[41.5493, 92.3655], [70.7299, 92.2041]]
    )
    weights, features = model_weights().astype(np.float64), []
    for name, points, score in zip(made.names, made.points, made.scores, strict=True):
        picture = cv2.imread(str(made.root / "loose_crop" / name))[..., ::-1]
        x, y = points.T
        one, zero = np.ones(5), np.zeros(5)
        equations = np.concatenate(
            [np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)]
        )
        (a, b, c, d), *_ = np.linalg.lstsq(equations, wanted.T.ravel(), rcond=None)
        crop = cv2.warpAffine(picture, np.array([[a, -b, c], [b, a, d]]), (112, 112))
        views = []
        for view in [crop, crop[:, ::-1]] if flip else [crop]:
            pixels = (view.astype(np.float64) - 127.5) / 127.5
            means = pixels.reshape(14, 8, 14, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
            views.append(means.ravel() @ weights)
        total = np.sum(views, axis=0)
        if pooling in ("mean", "score"):
            total = total / np.linalg.norm(total)
        if pooling == "score":
            total = total * quality(np.linalg.norm(views[0]))
        features.append(total * (score if detector else 1))
    vectors = {}
    for template in set(made.templates):
        media: dict[int, list[np.ndarray]] = {}
        for row, other in enumerate(made.templates):
            if other == template:
                media.setdefault(made.media[row], []).append(features[row])
        means = [np.mean(faces, axis=0) for faces in media.values()]
        if pooling == "media":
            means = [mean / np.linalg.norm(mean) for mean in means]
        total = np.sum(means, axis=0)
        vectors[template] = total / np.linalg.norm(total)
    return np.array([vectors[a] @ vectors[b] for a, b, _ in made.pairs])
