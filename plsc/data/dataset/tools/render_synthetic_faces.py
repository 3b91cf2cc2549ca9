"""Write a data set of rendered identities: images to train on and pairs to verify.

    python -m plsc.data.dataset.tools.render_synthetic_faces --output_dir dataset/synthetic

Layout of the output, the same as of the converters:
    train/images/%08d.jpg, train/label.txt         path TAB class
    val/images/%08d_0.jpg, %08d_1.jpg, val/label.txt   path TAB path TAB 1 (same person) or 0
    landmarks.csv      every image: person, five landmarks, box, pose, light, blur, noise ...
    severity.csv       with --degrade only, every image: path, kind and severity of what spoilt it
    README.md, dataset.json, contact_sheet.png
The people of val/ are in no image of train/.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from plsc.cli.options import add_workers
from plsc.cli.status import exit_status
from plsc.data.lists.label_list import LABEL_FILE, pair_lines
from plsc.data.loader.image_map import map_images
from plsc.data.transforms.degrade import degrade
from plsc.datatools.drawn_face.picture_plan import (
    UNSPOILT,
    DatasetSize,
    Picture,
    degradation_of,
    eval_pictures,
    train_pictures,
)
from plsc.datatools.drawn_face.render import Identity, View, render_face
from plsc.errors import UserError
from plsc.files.atomic import new_folder

CHUNK = 16  # pictures
SHEET_ROWS, SHEET_COLUMNS = 12, 10
POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = (
    ["path", "person"]
    + [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    + ["x1", "y1", "x2", "y2"]
    + [field.name for field in fields(View)]
)


def write_pictures(folder: Path, size: DatasetSize, pictures: Sequence[Picture]) -> list[list[Any]]:
    """Render, degrade and write; return the rows of landmarks.csv."""
    rows = []
    for picture in pictures:
        identity = Identity.sample(size.seed, picture.person)
        view = View.sample(size.seed, picture.person, picture.image)
        image, landmarks, box = render_face(identity, view)
        kind, severity, rng = degradation_of(size, picture)
        if kind != UNSPOILT:
            image = degrade(image, kind, severity, rng)
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
    with new_folder(output_dir) as folder:
        _write(folder, size, workers)
    return True


def _write(folder: Path, size: DatasetSize, workers: int) -> None:
    train, (pairs, same) = train_pictures(size), eval_pictures(size)
    for part in ("train", "val") if pairs else ("train",):
        (folder / part / "images").mkdir(parents=True)
    with (folder / "landmarks.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        pictures = [*train, *pairs]

        def write(some: range) -> tuple[list[np.ndarray], list[list[Any]]]:
            return [], write_pictures(folder, size, pictures[some.start : some.stop])

        with map_images(
            write, len(pictures), num_workers=workers, at_once=CHUNK, unit="images rendered"
        ) as results:
            for _, rows in results:
                table.writerows(rows)
    if size.degrade:
        _write_severities(folder / "severity.csv", size, [*train, *pairs])
    labels = [f"{picture.path.removeprefix('train/')}\t{picture.person}\n" for picture in train]
    (folder / "train" / LABEL_FILE).write_text("".join(labels))
    if pairs:
        names = [picture.path.removeprefix("val/") for picture in pairs]
        (folder / "val" / LABEL_FILE).write_text(pair_lines(names, same))
    _write_sheet(folder / "contact_sheet.png", folder, train, size)
    (folder / "README.md").write_text(_readme(size, len(train)))
    (folder / "dataset.json").write_text(json.dumps(size.to_dict(), indent=1) + "\n")


def _write_severities(path: Path, size: DatasetSize, pictures: list[Picture]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "kind", "severity"])
        for picture in pictures:
            kind, severity, _ = degradation_of(size, picture)
            table.writerow([picture.path, kind, f"{severity:.4f}"])


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
{_DEGRADED.format(size.degrade) if size.degrade else ""}"""


_DEGRADED = """
A share of {} of the images is spoilt by blur, noise, darkness or a bad crop; `severity.csv` says
which and how much, from 0 to 1. `landmarks.csv` has the pictures as they were before.
"""


def _require_same(output_dir: Path, size: DatasetSize) -> None:
    try:
        found = json.loads((output_dir / "dataset.json").read_text())
    except (OSError, ValueError):
        raise UserError(
            f"--output_dir {output_dir} holds other files; name an empty or a new folder"
        ) from None
    wanted = size.to_dict()
    names = sorted(found.keys() | wanted.keys())
    differing = [
        f"{name} {found.get(name)}" for name in names if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise UserError(
            f"--output_dir {output_dir} was rendered with {', '.join(differing)}; remove it or "
            "name another folder"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--output_dir", required=True, type=Path, help="new folder for the data")
    numbers = {
        "identities": (600, "people to train on"),
        "images_per_identity": (20, "images of each of them"),
        "eval_identities": (200, "other people, for the pairs"),
        "pairs": (2000, "pairs to verify, half of them of one person; 0 for none"),
        "seed": (0, "another seed, other people"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (%(default)s)")
    add_workers(parser, help="processes (%(default)s)")
    text = "share of the images to spoil by blur, noise, darkness or crop (%(default)s)"
    parser.add_argument("--degrade", type=float, default=0.0, metavar="SHARE", help=text)
    options = vars(parser.parse_args(argv))
    output_dir, workers = options.pop("output_dir"), options.pop("num_workers")

    def work() -> None:
        if workers < 1:
            raise UserError(f"--num-workers must be at least 1, got {workers}")
        size = DatasetSize(**options)
        written = render_dataset(output_dir, size, workers=workers)
        images = size.identities * size.images_per_identity
        counts = f"{images} images of {size.identities} people, {size.pairs} pairs"
        print(f"{output_dir}: {counts}" + ("" if written else " (already rendered)"))

    return exit_status("render_synthetic_faces", work)


if __name__ == "__main__":
    sys.exit(main())
