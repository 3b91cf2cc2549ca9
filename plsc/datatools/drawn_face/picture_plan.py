"""Plan a data set of rendered identities: whose pictures, how many, in which pairs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from plsc.data.transforms.degrade import KINDS
from plsc.datatools.drawn_face.render import RENDERER_VERSION
from plsc.errors import UserError

_PAIR_STREAM, _DEGRADATION_STREAM = 2, 3  # after those of identities and views
UNSPOILT = "none"


@dataclass(frozen=True)
class DatasetSize:
    """The size of a data set; equal parameters give equal files."""

    identities: int
    images_per_identity: int
    eval_identities: int
    pairs: int
    seed: int
    degrade: float = 0.0  # share of the images that are spoilt on purpose
    renderer: int = RENDERER_VERSION

    def __post_init__(self) -> None:
        least = {
            "identities": 1,
            "images_per_identity": 1,
            "eval_identities": 0,
            "pairs": 0,
            "seed": 0,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"--{name} must be at least {low}, got {getattr(self, name)}")
        if self.pairs and self.eval_identities < 2:
            raise UserError(
                f"--eval_identities must be at least 2 for --pairs {self.pairs}, "
                f"got {self.eval_identities}"
            )
        if not 0 <= self.degrade <= 1:
            raise UserError(f"--degrade must be from 0 to 1, got {self.degrade}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, in which only what is done to the images is named."""
        values = asdict(self)
        return values if self.degrade else {k: v for k, v in values.items() if k != "degrade"}


@dataclass(frozen=True)
class Picture:
    """One image to be rendered: `image` of `person`, to be written to `path`."""

    path: str
    person: int
    image: int


def train_pictures(size: DatasetSize) -> list[Picture]:
    """Return the images to train on, person after person; people are numbered from 0."""
    return [
        Picture(
            f"train/images/{person * size.images_per_identity + image + 1:08d}.jpg", person, image
        )
        for person in range(size.identities)
        for image in range(size.images_per_identity)
    ]


def eval_pictures(size: DatasetSize) -> tuple[list[Picture], list[bool]]:
    """Return the images of the pairs, 2i and 2i+1 of pair i, and whether each is of one person.

    Same and different alternate, so that every fold of consecutive pairs is balanced; no image
    occurs twice.
    """
    rng = np.random.default_rng([size.seed, _PAIR_STREAM])
    pictures, same = [], []
    for pair in range(size.pairs):
        first = pair // 2 % size.eval_identities
        step = 0 if pair % 2 == 0 else int(rng.integers(1, size.eval_identities))
        second = (first + step) % size.eval_identities
        for side, person in enumerate((first, second)):
            path = f"val/images/{pair:08d}_{side}.jpg"
            pictures.append(Picture(path, size.identities + person, 2 * pair + side))
        same.append(first == second)
    return pictures, same


def degradation_of(size: DatasetSize, picture: Picture) -> tuple[str, float, np.random.Generator]:
    """Return kind and severity for `degrade`, and the generator to go on with.

    The kind is UNSPOILT and the severity 0 for all but a share `size.degrade` of the pictures; the
    others' severities are spread evenly from 0 to 1.
    """
    key = [size.seed, _DEGRADATION_STREAM, picture.person, picture.image]
    rng = np.random.default_rng(key)
    if rng.random() >= size.degrade:
        return UNSPOILT, 0.0, rng
    return KINDS[rng.integers(len(KINDS))], round(float(rng.random()), 4), rng
