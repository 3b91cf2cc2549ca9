"""Record files and `.bin` sets -> image files and their lists."""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from plsc.data.lists.label_list import FLIPPED, LABEL_FILE, pair_lines
from plsc.data.loader.image_map import AT_ONCE, map_images
from plsc.data.records.record_index import image_records, read_index
from plsc.data.records.record_scan import find_index
from plsc.data.records.recordio import RecordFile
from plsc.data.sets.base import BadImage
from plsc.data.sets.bin_file import read_bin
from plsc.data.sets.image_file import ending_of
from plsc.data.transforms.standard import decode
from plsc.errors import UserError

JPEG_ENDING = ".jpg"

Naming = Callable[[int, int, bytes], str]


def extract_records(
    path: str | Path, folder: Path, *, name: Naming, num_workers: int, listed: bool = True
) -> np.ndarray:
    """Write the images of a record file as they are, in the order of their keys.

    Args:
        path: the `.rec` file; without an `.idx` its records are scanned.
        folder: where to; exists.
        name: makes of key, class and image file the path below `folder`.
        num_workers: processes that read and write.
        listed: write `label.txt` too (path, class, between tabs).

    Returns:
        The images' classes, int64 [n].

    Raises:
        UserError: a missing, truncated or damaged file; names key and byte offset.

    """
    file = RecordFile(path)
    index = image_records(file, *read_index(find_index(file)))

    def write(rows: range) -> tuple[list[np.ndarray], list[str]]:
        names, labels = [], []
        for row in rows:
            key = int(index.keys[row])
            image, label = file.read_image(int(index.offsets[row]), key=key)
            names.append(name(key, label, image))
            labels.append(label)
            _write_file(folder / names[-1], image)
        return [np.array(labels, np.int64)], names

    labels = np.empty(len(index.offsets), np.int64)
    if not len(labels):
        raise UserError(f"{path}: has no images")
    done = 0
    with (
        open(folder / LABEL_FILE if listed else os.devnull, "w", encoding="ascii") as lines,
        map_images(
            write, len(labels), num_workers=num_workers, slot_bytes=AT_ONCE * labels.itemsize
        ) as results,
    ):
        for (some,), names in results:
            labels[done : done + len(some)] = some
            done += len(some)
            if listed:
                pairs = zip(names, some.tolist(), strict=True)
                lines.writelines(f"{name}\t{label}\n" for name, label in pairs)
    return labels


def _write_file(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except FileNotFoundError:  # the first file of its folder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def flat_name(key: int, label: int, image: bytes) -> str:
    """Return `images/<key>` with the ending of the content; unknown content is called .jpg."""
    return f"images/{key:08d}{ending_of(image) or JPEG_ENDING}"


def jpeg_name(key: int, label: int, image: bytes) -> str:
    """Return `images/<key>.jpg`, whatever the content, as PLSC names it."""
    return f"images/{key:08d}{JPEG_ENDING}"


def summary(labels: np.ndarray) -> dict[str, int]:
    """Return how many images and classes there are, and the least `class_num` of a config."""
    return {
        "num_image": len(labels),
        "num_classes": len(np.unique(labels)),
        "Model.class_num": int(labels.max()) + 1,
    }


def summary_text(labels: np.ndarray) -> str:
    """Return the lines of `summary`."""
    lines = [f"{name}: {number}" for name, number in summary(labels).items()]
    return "\n".join(lines) + " or more\n"


def extract_pairs(
    bin_path: str | Path, folder: Path, *, flip_test: bool = False, num_workers: int = 1
) -> int:
    """Write `images/<pair>_<0 or 1>.png` and `label.txt` (path, path, 0 or 1, between tabs).

    Args:
        bin_path: the `.bin` file.
        folder: where to; exists and is empty.
        flip_test: append all pairs once more, mirrored. `LFWAcc` needs no such copies: it mirrors
            in memory, and FaceVerificationDataset leaves these out.
        num_workers: processes.

    Returns:
        The number of pairs, mirrored ones not counted.

    Raises:
        UserError: a file that is not such a set, or an image that cannot be decoded.

    """
    images, issame = read_bin(bin_path)
    endings = ["", FLIPPED] if flip_test else [""]
    (folder / "images").mkdir()

    def write(numbers: range) -> tuple[list[np.ndarray], None]:
        for number in numbers:
            try:
                pixels = decode(images[number], to_rgb=False)  # OpenCV writes BGR
            except BadImage as error:
                raise UserError(f"{bin_path}: image {number}: {error}") from error
            for ending in endings:
                kept = cv2.flip(pixels, 1) if ending else pixels
                content = cv2.imencode(".png", kept)[1].tobytes()
                (folder / _pair_name(number, ending)).write_bytes(content)
        return [], None

    with map_images(write, len(images), num_workers=num_workers) as results:
        deque(results, maxlen=0)
    names = [_pair_name(number, ending) for ending in endings for number in range(len(images))]
    lines = pair_lines(names, issame.tolist() * len(endings))
    (folder / LABEL_FILE).write_text(lines, encoding="ascii")
    return len(issame)


def _pair_name(number: int, ending: str) -> str:
    return f"images/{number // 2:08d}_{number % 2}{ending}.png"
