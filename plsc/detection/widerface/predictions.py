"""A folder of predictions in WIDER FACE's layout: `<event>/<image>.txt`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.mapped_file import read_regular

MOST_BYTES = 64 * 2**20  # of an image: half a million boxes
VALUES = 5  # x, y, width, height, score


def read_prediction(path: str | Path) -> NDArray[np.float64]:
    """Return [n, 5], x y width height score, of a file: a name, how many, and a line for each.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is damaged; the message names it.

    """
    if not Path(path).exists():
        raise FileNotFoundError(path)
    content = read_regular(path, "file of predictions", most_bytes=MOST_BYTES)
    name, _, rest = content.partition(b"\n")
    count, _, numbers = rest.partition(b"\n")
    try:
        expected = int(count)
        values = np.fromstring(numbers.decode("ascii"), np.float64, sep=" ")
    except ValueError as error:
        raise UserError(
            f"{path}: not a name, a number of boxes and lines `x y width height score`: {error}"
        ) from None
    if len(values) != VALUES * expected:
        raise UserError(
            f"{path}: {len(values)} numbers behind the first two lines, {expected} boxes of "
            f"{VALUES} are announced"
        )
    if not np.isfinite(values).all():
        raise UserError(f"{path}: has numbers that are not finite")
    return values.reshape(-1, VALUES)


def names_in(folder: str | Path) -> set[tuple[str, str]]:
    """Return event and name of all files of predictions in a folder.

    Raises:
        UserError: it is no folder.

    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: is not a folder of predictions (<event>/<image>.txt)")
    return {(path.parent.name, path.stem) for path in Path(folder).glob("*/*.txt")}
