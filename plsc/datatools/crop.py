"""CropFormat of all faces of a landmark list, written below a new folder."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np

from plsc.config.schema import Range, check
from plsc.data.lists.image_root import ImageRoot
from plsc.data.lists.landmark_list import LandmarkList
from plsc.data.loader.image_map import map_images
from plsc.data.sets.files import read_file
from plsc.data.transforms.align import align, misfit
from plsc.data.transforms.standard import decode
from plsc.errors import UserError
from plsc.files.atomic import new_folder

CHUNK = 32  # faces
IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
Size = Annotated[int, Range(8, 4096)]
Quality = Annotated[int, Range(1, 100)]


@dataclass(frozen=True)
class CropFormat:
    """Size and file format of crops; `quality` is that of JPEG."""

    size: int = 112
    format: Literal["jpg", "png"] = "jpg"
    quality: int = 95

    def __post_init__(self) -> None:
        check(self.size, Size, "size")
        check(self.quality, Quality, "quality")

    def encoded(self, image: bytes, points: np.ndarray) -> bytes:
        """Return the image file of the face in `image` whose landmarks are `points`, float [5, 2].

        Raises:
            UserError: the image cannot be decoded, or the landmarks are not those of a face.

        """
        pixels = decode(image, to_rgb=False)
        crop = align(pixels, points, size=self.size)
        options = [cv2.IMWRITE_JPEG_QUALITY, self.quality] if self.format == "jpg" else []
        done, encoded = cv2.imencode(f".{self.format}", crop, options)
        assert done
        return encoded.tobytes()


@dataclass(frozen=True)
class CropResults:
    """Faces of a list that have a crop, and those that were left out.

    Attributes:
        rows: which faces have a crop, in the order of the list.
        names: path of the crop of each of `rows` below the output folder.
        misfits: float64, of each of `rows`; see `plsc.data.transforms.align.misfit`.
        skipped: faces without a crop, and why.

    """

    rows: list[int]
    names: list[str]
    misfits: np.ndarray
    skipped: dict[int, str]


def crop_names(faces: LandmarkList, image_root: str, ending: str) -> list[str]:
    """Return the paths of the crops below the output folder: as the images' below `image_root`.

    Raises:
        UserError: a path leaves `image_root`, or two faces would have the same crop.

    """
    root, prefix = ImageRoot(image_root), os.path.join(os.path.abspath(image_root), "")
    names: list[str] = []
    seen: dict[str, int] = {}
    for row, path in enumerate(faces.paths):
        try:
            root.check(path)
        except UserError as error:
            raise UserError(f"{faces.where(row)}: {error}") from error
        relative = os.path.normpath(path).removeprefix(prefix)
        if relative == ".":
            raise UserError(f"{faces.where(row)}: path {path!r} names no file")
        stem, suffix = os.path.splitext(relative)
        name = (stem if suffix.lower() in IMAGE_ENDINGS else relative) + ending
        if seen.setdefault(name, row) != row:
            raise UserError(
                f"{faces.where(row)}: {path!r} would be written to {name} like line "
                f"{faces.lines[seen[name]]}: list each image once"
            )
        names.append(name)
    return names


def write_crops(
    faces: LandmarkList,
    output_dir: str | Path,
    *,
    image_root: str,
    crops: CropFormat,
    workers: int,
    skip: bool,
) -> CropResults:
    """Write a crop of each face below the folder `output_dir`, which appears when all are there.

    Args:
        faces: what is cropped.
        output_dir: a new folder.
        image_root: where relative paths begin; none may lead out of it.
        crops: size and format.
        workers: processes; the files are the same for any number.
        skip: go on without faces whose image or landmarks cannot be used.

    Raises:
        UserError: one of them cannot be used (or, skipping, none can), or the folder exists.

    """
    if not os.path.isdir(image_root):
        raise UserError(f"image_root: {image_root} is not a folder")
    names = crop_names(faces, image_root, f".{crops.format}")
    misfits: dict[int, float] = {}
    skipped: dict[int, str] = {}
    with new_folder(output_dir) as folder:

        def write(rows: range) -> tuple[list[np.ndarray], list[tuple[int, float | str]]]:
            return [], [(row, write_one(row, folder / names[row])) for row in rows]

        def write_one(row: int, path: Path) -> float | str:
            try:
                fit, crop = _fit_and_crop(faces, row, image_root, crops)
            except UserError as error:
                if not skip:
                    raise
                return str(error)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(crop)
            return fit

        with map_images(
            write, len(faces), num_workers=workers, at_once=CHUNK, unit="faces"
        ) as results:
            for row, result in itertools.chain.from_iterable(done for _, done in results):
                if isinstance(result, str):
                    skipped[row] = result
                else:
                    misfits[row] = result
        if not misfits:
            first = next(iter(skipped.values()))
            raise UserError(f"none of the {len(faces)} faces can be used; first: {first}")
    values = np.array(list(misfits.values()))
    return CropResults(list(misfits), [names[row] for row in misfits], values, skipped)


def _fit_and_crop(
    faces: LandmarkList, row: int, image_root: str, crops: CropFormat
) -> tuple[float, bytes]:
    path, points = faces.paths[row], faces.points[row]
    where = f"{faces.where(row)}: {path}"
    image = read_file(os.path.join(image_root, path), lambda: where)
    try:
        return misfit(points), crops.encoded(image, points)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
