"""MXNet RecordIO set -> image files and their list, byte for byte, without mxnet.

python -m plsc.data.dataset.tools.mx_recordio_2_images --root_dir D --output_dir O
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plsc.data.output import exit_status, finished_folder, progress_bar
from plsc.data.record_index import image_records, read_index
from plsc.data.recordio import RecordFile


def convert(root_dir: str | Path, output_dir: str | Path) -> np.ndarray:
    """Write the images of `train.rec` as they are, `label.txt`, `README.md`; copy the `.bin` files.

    Returns:
        The images' classes, int64 [n].

    Raises:
        UserError: a missing, truncated or damaged file (with key and byte offset), or an output
            folder that is not empty. Nothing is left of the output then.

    """
    root = Path(root_dir)
    file = RecordFile(root / "train.rec")
    keys, offsets = image_records(file, *read_index(root / "train.idx"))
    labels = np.empty(len(keys), np.int64)
    with finished_folder(output_dir) as output:
        (output / "images").mkdir()
        with (
            open(output / "label.txt", "w", encoding="ascii") as listed,
            progress_bar(len(keys), "images") as bar,
        ):
            rows = zip(keys.tolist(), offsets.tolist(), strict=True)
            for row, (key, offset) in enumerate(rows):
                image, labels[row] = file.read_image(offset, key=key)
                name = f"images/{key:08d}.jpg"
                (output / name).write_bytes(image)
                listed.write(f"{name}\t{labels[row]}\n")
                bar.update()
        for pairs in sorted(root.glob("*.bin")):
            shutil.copyfile(pairs, output / pairs.name)
        (output / "README.md").write_text(summary(labels), encoding="ascii")
    return labels


def summary(labels: np.ndarray) -> str:
    """How many images and classes there are, and the least `class_num` of a config."""
    counts = f"num_image: {len(labels)}\nnum_classes: {len(np.unique(labels))}\n"
    return f"{counts}Model.class_num: {labels.max() + 1} or more\n"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mx_recordio_2_images",
        description="Extract the images of an MXNet RecordIO set (train.rec, train.idx).",
    )
    parser.add_argument("--root_dir", required=True, help="folder with train.rec and train.idx")
    parser.add_argument("--output_dir", required=True, help="new folder for images and label.txt")
    options = parser.parse_args(argv)
    return exit_status(
        parser.prog,
        lambda: print(summary(convert(options.root_dir, options.output_dir)), end=""),
    )


if __name__ == "__main__":
    sys.exit(main())
