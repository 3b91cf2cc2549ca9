"""MXNet RecordIO set -> image files and their list, byte for byte, without mxnet.

python -m plsc.data.dataset.tools.mx_recordio_2_images --root_dir D --output_dir O
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plsc.cli.status import exit_status
from plsc.datatools.extract import extract_records, jpeg_name, summary_text
from plsc.files.atomic import new_folder
from plsc.nn.environment import cores


def convert(root_dir: str | Path, output_dir: str | Path) -> np.ndarray:
    """Write the images of `train.rec` as they are, `label.txt`, `README.md`; copy the `.bin` files.

    Returns:
        The images' classes, int64 [n].

    Raises:
        UserError: a missing, truncated or damaged file (with key and byte offset), or an output
            folder that is not empty. Nothing is left of the output then.

    """
    root = Path(root_dir)
    with new_folder(output_dir) as output:
        labels = extract_records(root / "train.rec", output, name=jpeg_name, num_workers=cores())
        for pairs in sorted(root.glob("*.bin")):
            shutil.copyfile(pairs, output / pairs.name)
        (output / "README.md").write_text(summary_text(labels), encoding="ascii")
    return labels


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="mx_recordio_2_images",
        description="Extract the images of an MXNet RecordIO set (train.rec, train.idx).",
    )
    parser.add_argument("--root_dir", required=True, help="folder with train.rec and train.idx")
    parser.add_argument("--output_dir", required=True, help="new folder for images and label.txt")
    options = parser.parse_args(argv)
    return exit_status(
        parser.prog,
        lambda: print(summary_text(convert(options.root_dir, options.output_dir)), end=""),
    )


if __name__ == "__main__":
    sys.exit(main())
