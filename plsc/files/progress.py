"""Show the progress of long work on standard error."""

import sys

from tqdm import tqdm


def progress_bar(total: int, unit: str) -> tqdm:
    """Return a bar on standard error; a line now and then where that is no terminal."""
    seconds = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, unit=f" {unit}", mininterval=seconds)
