"""LFW-style `.bin` verification set -> PNG files and a list of pairs.

python -m plsc.data.dataset.tools.lfw_style_bin_dataset_converter --bin_path F --out_dir O
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from plsc.cli.status import exit_status
from plsc.datatools.extract import extract_pairs
from plsc.files.atomic import new_folder
from plsc.nn.environment import cores


def convert(bin_path: str | Path, out_dir: str | Path, *, flip_test: bool = False) -> int:
    """Write the new folder `out_dir` as `extract_pairs` says; returns the number of pairs.

    Raises:
        UserError: as `extract_pairs`, or an output folder that is not empty. Nothing is left of the
            output then.

    """
    with new_folder(out_dir) as output:
        return extract_pairs(bin_path, output, flip_test=flip_test, num_workers=cores())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
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
