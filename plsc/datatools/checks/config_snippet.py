"""The lines of a config that train on a set."""

import os
from pathlib import Path
from typing import Any

import yaml

from plsc.data.lists.label_list import LABEL_FILE
from plsc.data.sets.base import ImageSource
from plsc.data.sets.folder import FolderImages
from plsc.data.sets.listed import ListedImages
from plsc.data.sets.record_images import RecordImages
from plsc.errors import UserError
from plsc.files.mapped_file import regular

TRANSFORMS: list[Any] = [
    {"DecodeImage": {"to_rgb": True}},
    {"RandFlipImage": {"flip_code": 1}},
    {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3}},
    {"ToCHWImage": None},
]


def config_of(
    source: ImageSource, path: str, image_root: str | None, *, class_num: int
) -> dict[str, Any]:
    """Return sections of a config, with what this set asks for.

    Args:
        source: what `open_source` made of `path`.
        path: as the user called it.
        image_root: the same; None for a list's own folder.
        class_num: for the head.

    """
    return {
        "Model": {"class_num": class_num},
        "DataLoader": {
            "Train": {"dataset": {**_place(source, path, image_root), "transform_ops": TRANSFORMS}}
        },
    }


def as_yaml(config: dict[str, Any]) -> str:
    """Return the text of a config file."""
    return yaml.safe_dump(config, sort_keys=False, default_flow_style=None, allow_unicode=True)


def _place(source: ImageSource, path: str, image_root: str | None) -> dict[str, Any]:
    if isinstance(source, RecordImages):
        return {"name": "FaceRecordDataset", "root": path}
    if isinstance(source, FolderImages):
        return {"name": "FaceFolderDataset", "root": path}
    assert isinstance(source, ListedImages), "a source that no config names"
    list_path = Path(path) / LABEL_FILE if os.path.isdir(path) else Path(path)
    place = {
        "name": "FaceIdentificationDataset",
        "image_root": str(list_path.parent) if image_root is None else image_root,
        "cls_label_path": str(list_path),
    }
    behind = _first_line(list_path).lstrip().removeprefix(source.name(0))
    if len(behind.split()) == 3:
        return {**place, "list_format": "magface"}
    return place if behind.startswith("\t") else {**place, "delimiter": behind[:1]}


def _first_line(path: Path) -> str:
    try:
        with open(path, "rb", opener=regular) as file:
            return os.fsdecode(next((line for line in file if line.strip()), b""))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
