"""Write a data set of rendered identities: images to train on and pairs to verify.

    python -m plsc.data.dataset.tools.render_synthetic_faces --output_dir dataset/synthetic

Layout of the output, the same as of the converters:
    train/images/%08d.jpg, train/label.txt         path TAB class
    val/images/%08d_0.jpg, %08d_1.jpg, val/label.txt   path TAB path TAB 1 (same person) or 0
    landmarks.csv      every image: person, five landmarks, box, pose, light, blur, noise ...
    README.md, dataset.json, contact_sheet.png
The people of val/ are in no image of train/.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from plsc.data.dataset.synthetic import RENDERER_VERSION, Identity, View, render_face
from plsc.data.output import exit_status, finished_folder, progress_bar
from plsc.data.worker_pool import WorkerPool
from plsc.errors import UserError

CHUNK = 16  # pictures
SHEET_ROWS, SHEET_COLUMNS = 12, 10
POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = (
    ["path", "person"]
    + [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    + ["x1", "y1", "x2", "y2"]
    + [field.name for field in fields(View)]
)


@dataclass(frozen=True)
class DatasetSize:
    """What a data set is made from; equal parameters give equal files."""

    identities: int
    images_per_identity: int
    eval_identities: int
    pairs: int
    seed: int
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


@dataclass(frozen=True)
class Picture:
    """One image to be rendered: `image` of `person`, to be written to `path`."""

    path: str
    person: int
    image: int


def train_pictures(size: DatasetSize) -> list[Picture]:
    """The images to train on, person after person; people are numbered from 0."""
    return [
        Picture(
            f"train/images/{person * size.images_per_identity + image + 1:08d}.jpg", person, image
        )
        for person in range(size.identities)
        for image in range(size.images_per_identity)
    ]


def eval_pictures(size: DatasetSize) -> tuple[list[Picture], list[bool]]:
    """The images of the pairs, row 2i and 2i+1 for pair i, and whether each is of one person.

    Same and different alternate, so that every fold of consecutive pairs is balanced; no image
    occurs twice.
    """
    rng = np.random.default_rng([size.seed, 2])
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


def write_pictures(folder: Path, seed: int, pictures: Sequence[Picture]) -> list[list[Any]]:
    """Render and write; returns the rows of landmarks.csv."""
    rows = []
    for picture in pictures:
        identity = Identity.sample(seed, picture.person)
        view = View.sample(seed, picture.person, picture.image)
        image, landmarks, box = render_face(identity, view)
        (folder / picture.path).write_bytes(_jpeg(image, view.jpeg_quality))
        places = [f"{value:.2f}" for value in (*landmarks.ravel(), *box)]
        values = [f"{v:.4g}" if isinstance(v, float) else v for v in astuple(view)]
        rows.append([picture.path, picture.person, *places, *values])
    return rows


def render_dataset(output_dir: Path, size: DatasetSize, *, workers: int) -> bool:
    """Render a data set into `output_dir`; False if it is there already.

    Raises:
        UserError: `output_dir` holds something else.

    """
    if output_dir.is_dir() and any(output_dir.iterdir()):
        _require_same(output_dir, size)
        return False
    with finished_folder(output_dir) as folder:
        _write(folder, size, workers)
    return True


def _write(folder: Path, size: DatasetSize, workers: int) -> None:
    train, (pairs, same) = train_pictures(size), eval_pictures(size)
    for part in ("train", "val") if pairs else ("train",):
        (folder / part / "images").mkdir(parents=True)
    with (folder / "landmarks.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for rows in _rendered(folder, size.seed, [*train, *pairs], workers):
            table.writerows(rows)
    labels = [f"{picture.path.removeprefix('train/')}\t{picture.person}\n" for picture in train]
    (folder / "train" / "label.txt").write_text("".join(labels))
    if pairs:
        names = [picture.path.removeprefix("val/") for picture in pairs]
        lines = [
            f"{first}\t{second}\t{int(is_same)}\n"
            for first, second, is_same in zip(names[0::2], names[1::2], same, strict=True)
        ]
        (folder / "val" / "label.txt").write_text("".join(lines))
    _write_sheet(folder / "contact_sheet.png", folder, train, size)
    (folder / "README.md").write_text(_readme(size, len(train)))
    (folder / "dataset.json").write_text(json.dumps(asdict(size), indent=1) + "\n")


def _rendered(
    folder: Path, seed: int, pictures: list[Picture], workers: int
) -> Iterator[list[list[Any]]]:
    """Render all pictures; yields the rows in the pictures' order, with a progress bar."""
    chunks = [pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK)]

    def write(chunk: list[Picture]) -> tuple[list[np.ndarray], list[list[Any]]]:
        return [], write_pictures(folder, seed, chunk)

    pool = WorkerPool(write, num_workers=workers if workers > 1 else 0, slot_bytes=0)
    try:
        with progress_bar(len(pictures), "images rendered") as bar:
            for _, rows in pool.map(chunks):
                yield rows
                bar.update(len(rows))
    finally:
        pool.close()


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    done, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return encoded.tobytes()


def _write_sheet(path: Path, folder: Path, train: list[Picture], size: DatasetSize) -> None:
    columns = min(SHEET_COLUMNS, size.images_per_identity)
    rows: list[np.ndarray] = []
    for person in range(min(SHEET_ROWS, size.identities)):
        start = person * size.images_per_identity
        row = [
            np.asarray(cv2.imread(str(folder / picture.path)))
            for picture in train[start : start + columns]
        ]
        rows.append(np.concatenate(row, axis=1))
    done, encoded = cv2.imencode(".png", np.concatenate(rows, axis=0))
    assert done
    path.write_bytes(encoded.tobytes())


def _readme(size: DatasetSize, num_images: int) -> str:
    return f"""# Rendered faces

num_image: {num_images}
num_classes: {size.identities}
num_pairs: {size.pairs}
num_eval_classes: {size.eval_identities if size.pairs else 0}
seed: {size.seed}

Drawn, not photographed: nobody is shown here. `train/label.txt` has `path TAB class`,
`val/label.txt` `path TAB path TAB 1|0` of people that are not in `train/`. `landmarks.csv` has
person, landmarks, box, pose, light, blur and noise of every image, in pixels and degrees.
`contact_sheet.png` shows a person in each row.
"""


def _require_same(output_dir: Path, size: DatasetSize) -> None:
    try:
        found = json.loads((output_dir / "dataset.json").read_text())
    except (OSError, ValueError):
        raise UserError(
            f"--output_dir {output_dir} holds other files; name an empty or a new folder"
        ) from None
    wanted = asdict(size)
    differing = [f"{name} {found.get(name)}" for name in wanted if found.get(name) != wanted[name]]
    if differing:
        raise UserError(
            f"--output_dir {output_dir} was rendered with {', '.join(differing)}; remove it or "
            "name another folder"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--output_dir", required=True, type=Path, help="new folder for the data")
    numbers = {
        "identities": (600, "people to train on"),
        "images_per_identity": (20, "images of each of them"),
        "eval_identities": (200, "other people, for the pairs"),
        "pairs": (2000, "pairs to verify, half of them of one person; 0 for none"),
        "seed": (0, "another seed, other people"),
        "workers": (len(os.sched_getaffinity(0)), "processes"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (%(default)s)")
    options = vars(parser.parse_args(argv))
    output_dir, workers = options.pop("output_dir"), options.pop("workers")

    def work() -> None:
        if workers < 1:
            raise UserError(f"--workers must be at least 1, got {workers}")
        size = DatasetSize(**options)
        written = render_dataset(output_dir, size, workers=workers)
        images = size.identities * size.images_per_identity
        counts = f"{images} images of {size.identities} people, {size.pairs} pairs"
        print(f"{output_dir}: {counts}" + ("" if written else " (already rendered)"))

    return exit_status("render_synthetic_faces", work)


if __name__ == "__main__":
    sys.exit(main())
