"""Paths of images: whether they lie below the folder they should, and how messages write them."""

import os

import numpy as np

from plsc.errors import UserError

DOT, SLASH = ord("."), ord("/")


class ImageRoot:
    """A folder that listed images must not leave.

    Decided by the text of a path alone: links are followed when an image is read, and nothing is
    looked at on disk. "/" admits every absolute path.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self._prefix = os.path.join(os.path.abspath(folder), "")

    def check(self, path: str) -> None:
        """Refuse a path, relative to the folder or absolute, that leaves it.

        Raises:
            UserError: it has a component "..", or is absolute and not below the folder.

        """
        if ".." in path.split("/"):
            raise UserError(
                f"path {path!r} goes up by '..': list paths below image_root {self.folder!r}"
            )
        if path.startswith("/") and not os.path.normpath(path).startswith(self._prefix):
            raise UserError(
                f"path {path!r} is not below image_root {self.folder!r}: image_root: / admits "
                "any absolute path"
            )

    def suspects(self, text: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return rows among which are all that `check` refuses.

        Args:
            text: uint8 bytes of whole lines.
            begins: int64 [n], ascending, where each line's path begins in `text`.
            ends: int64 [n], behind each path.

        """
        rows = self._rows_with_dots(text, begins, ends)
        if self._prefix == "/":
            return rows
        absolute = np.flatnonzero(text[begins] == SLASH)
        if len(absolute) and not self._all_below(text, begins[absolute]):
            rows = np.union1d(rows, absolute)
        return rows

    @staticmethod
    def _rows_with_dots(text: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        dots = text == DOT
        pairs = np.flatnonzero(dots[:-1] & dots[1:])
        rows = np.searchsorted(begins, pairs, side="right") - 1
        pairs, rows = pairs[rows >= 0], rows[rows >= 0]
        opens = (pairs == begins[rows]) | (text[pairs - 1] == SLASH)
        closes = (pairs + 2 == ends[rows]) | (text.take(pairs + 2, mode="clip") == SLASH)
        return np.unique(rows[opens & closes])

    def _all_below(self, text: np.ndarray, begins: np.ndarray) -> bool:
        """Tell whether all absolute paths begin with the folder as it is written here."""
        # Counting is much faster than comparing at each place; a path of a line counts only where
        # the line begins with it, as all do that begin behind the end of the line before.
        prefix = os.fsencode(self._prefix)
        found = text.tobytes().count(b"\n" + prefix)
        first = text[: len(prefix)].tobytes() == prefix
        return found + first == len(begins) and b"\n" not in prefix


def shown(path: str) -> str:
    """Return the path for a message of one line: quoted where it has what cannot be printed."""
    return path if path.isprintable() else repr(path)


def check_below(root: str, path: str, where: str) -> None:
    """Refuse a path that leaves `root`; `where` says in the message who lists it.

    Raises:
        UserError: `path` has a component "..", or is absolute and not below `root`.

    """
    try:
        ImageRoot(root).check(path)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
