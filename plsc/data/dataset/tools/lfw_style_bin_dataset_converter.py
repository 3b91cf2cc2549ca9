"""LFW-style `.bin` verification set -> PNG files and a list of pairs.

python -m plsc.data.dataset.tools.lfw_style_bin_dataset_converter --bin_path F --out_dir O
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from plsc.data.dataset.bin_file import read_bin
from plsc.data.label_list import FLIPPED
from plsc.data.output import exit_status, finished_folder, progress_bar
from plsc.data.transforms import BadImage, DecodeImage
from plsc.errors import UserError


def convert(bin_path: str | Path, out_dir: str | Path, *, flip_test: bool = False) -> int:
    """Write `images/<pair>_<0 or 1>.png` and `label.txt` (path, path, 0 or 1, between tabs).

    Args:
        bin_path: the `.bin` file.
        out_dir: a new folder.
        flip_test: append all pairs once more, mirrored. `LFWAcc` needs no such copies: it mirrors
            in memory, and FaceVerificationDataset leaves these out.

    Returns:
        The number of pairs, mirrored ones not counted.

    Raises:
        UserError: a file that is not such a set, an image that cannot be decoded, or an output
            folder that is not empty. Nothing is left of the output then.

    """
    images, issame = read_bin(bin_path)
    decode, rng = DecodeImage(to_rgb=False), np.random.default_rng(0)  # OpenCV writes BGR
    endings = ["", FLIPPED] if flip_test else [""]
    with finished_folder(out_dir) as output:
        (output / "images").mkdir()
        with progress_bar(len(images), "images") as bar:
            for number, image in enumerate(images):
                try:
                    pixels = decode(image, rng)
                except BadImage as error:
                    raise UserError(f"{bin_path}: image {number}: {error}") from error
                for ending in endings:
                    kept = cv2.flip(pixels, 1) if ending else pixels
                    name = _name(number, ending)
                    (output / name).write_bytes(cv2.imencode(".png", kept)[1].tobytes())
                bar.update()
        lines = [
            f"{_name(2 * pair, ending)}\t{_name(2 * pair + 1, ending)}\t{int(same)}\n"
            for ending in endings
            for pair, same in enumerate(issame)
        ]
        (output / "label.txt").write_text("".join(lines), encoding="ascii")
    return len(issame)


def _name(number: int, ending: str) -> str:
    return f"images/{number // 2:08d}_{number % 2}{ending}.png"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="lfw_style_bin_dataset_converter",
        description="Extract the images and pairs of an LFW-style .bin file.",
    )
    parser.add_argument("--bin_path", required=True, help="the .bin file, e.g. agedb_30.bin")
    parser.add_argument("--out_dir", required=True, help="new folder for images and label.txt")
    parser.add_argument("--flip_test", action="store_true", help="append all pairs mirrored")
    options = parser.parse_args(argv)

    def work() -> None:
        pairs = convert(options.bin_path, options.out_dir, flip_test=options.flip_test)
        print(f"num_pairs: {pairs}")

    return exit_status(parser.prog, work)


if __name__ == "__main__":
    sys.exit(main())
