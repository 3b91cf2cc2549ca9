"""A release like IJB-C's, of drawn faces that are turned and shifted in larger pictures."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from plsc.datatools.drawn_face.render import Identity, View, render_face

NUM_PEOPLE, FACES_OF_ONE = 8, 6


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
