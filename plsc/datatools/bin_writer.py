"""Write LFW-style `.bin` verification sets, as PLSC's and insightface's readers take them."""

import hashlib
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

from plsc.data.sets.bin_file import read_bin
from plsc.errors import UserError
from plsc.files.atomic import output_file

PROTOCOL = 4  # the first that writes while it pickles; the earlier ones make a copy in memory


def write_bin(path: str | Path, images: Iterable[bytes], issame: Sequence[bool]) -> None:
    """Write the set, read it back, and only then give it its name.

    Args:
        path: the file; one that is there is replaced.
        images: 2P image files; 2i and 2i + 1 are pair i. They are held in memory once.
        issame: whether each of the P pairs is of one person.

    Raises:
        UserError: the system refuses to write, or what was written does not read back as it was.

    """
    with output_file(path) as partial:
        held = list(images)
        assert len(held) == 2 * len(issame), "two images for each pair"
        labels = [bool(same) for same in issame]
        written = _fingerprint(held, labels)
        with open(partial, "wb") as file:
            pickle.dump((held, labels), file, protocol=PROTOCOL)
        del held
        read, read_labels = read_bin(partial)
        if _fingerprint(read, read_labels.tolist()) != written:
            raise UserError(f"{path}: does not read back as it was written: is the disk sound?")


def _fingerprint(images: Sequence[bytes], issame: Sequence[bool]) -> bytes:
    state = hashlib.blake2b(repr((len(images), list(issame))).encode())
    for image in images:
        state.update(hashlib.blake2b(image).digest())
    return state.digest()
