"""A release of drawn faces, some turned and shifted in larger pictures, and a small ONNX model."""

import copy
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper
from onnx_models import images, vectors, write_model

from plsc.datatools.drawn_face.render import Identity, View, render_face

NUM_PEOPLE, FACES_OF_ONE, DIM, POOL = 8, 6, 24, 8


@dataclass
class MadeRelease:
    """Where it is, and what its lists say."""

    root: Path
    names: list[str] = field(default_factory=list)
    templates: list[int] = field(default_factory=list)
    media: list[int] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    pairs: list[tuple[int, int, int]] = field(default_factory=list)
    people: dict[int, int] = field(default_factory=dict)

    def write(self, stem: str = "ijbc") -> None:
        meta = self.root / "meta"
        meta.mkdir(exist_ok=True)
        members = zip(self.names, self.templates, self.media, strict=True)
        text = "".join(f"{name} {template} {medium}\n" for name, template, medium in members)
        (meta / f"{stem}_face_tid_mid.txt").write_text(text)
        lines = []
        for name, points, score in zip(self.names, self.points, self.scores, strict=True):
            numbers = " ".join(f"{value:.6f}" for value in points.ravel())
            lines.append(f"{name} {numbers} {score:.6f}\n")
        (meta / f"{stem}_name_5pts_score.txt").write_text("".join(lines))
        text = "".join("{} {} {}\n".format(*pair) for pair in self.pairs)
        (meta / f"{stem}_template_pair_label.txt").write_text(text)

    def write_search(self, folder: Path, galleries: dict[str, list[int]], probes: list[int]):
        for name, templates in {**galleries, "mixed": probes}.items():
            kind = "probe" if name == "mixed" else "gallery"
            rows = [f"{t},{self.people[t] + 1000},img/{t}.jpg\n" for t in templates for _ in "ab"]
            text = "TEMPLATE_ID,SUBJECT_ID,FILENAME\n" + "".join(rows)
            (folder / f"ijbc_1N_{kind}_{name}.csv").write_text(text)


def turned(image: np.ndarray, points: np.ndarray, random: np.random.Generator):
    """The face larger or smaller, turned and shifted, in a picture of 200 x 180."""
    angle, scale = random.uniform(-40, 40), random.uniform(0.8, 1.3)
    change = cv2.getRotationMatrix2D((56, 56), angle, scale)
    change[:, 2] += (44 + random.uniform(-8, 8), 34 + random.uniform(-8, 8))
    canvas = cv2.warpAffine(image, change, (200, 180), borderValue=(90, 120, 60))
    return canvas, points @ change[:, :2].T + change[:, 2]


def make_release(root: Path) -> MadeRelease:
    """48 faces of 8 people in 16 templates, two for each person, of four media."""
    (root / "loose_crop").mkdir(parents=True)
    made, random = MadeRelease(root), np.random.default_rng(3)
    for person in range(NUM_PEOPLE):
        identity = Identity.sample(5, person)
        for number in range(FACES_OF_ONE):
            image, points, _ = render_face(identity, View.sample(5, person, number))
            image, points = turned(image, points.astype(np.float64), random)
            name = f"{len(made.names) + 1}.png"
            cv2.imwrite(str(root / "loose_crop" / name), image[..., ::-1])
            template = 100 - 3 * (2 * person + number % 2)  # not in the order of the faces
            made.names.append(name)
            made.templates.append(template)
            made.media.append(number // 3)
            made.points.append(points)
            made.scores.append(float(random.uniform(0.4, 1)))
            made.people[template] = person
    every = sorted(made.people)
    made.pairs = [
        (a, b, int(made.people[a] == made.people[b])) for a in every for b in every if a < b
    ]
    random.shuffle(made.pairs)
    made.write()
    return made


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
