"""Images in one folder per identity."""

import os
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from plsc.data.lists.image_root import shown
from plsc.data.sets.files import IMAGE_ENDINGS, ImageFiles, is_image_name, is_system_folder
from plsc.errors import UserError

SHOW_PROGRESS_AFTER = 2.0  # seconds
ENDINGS_SHOWN = 6


class FolderImages(ImageFiles):
    """The images in the folders of a folder, each of which is an identity.

    Identities are sorted by name, and so are the images of each, as Python compares strings.
    Folders are listed once, at the start, without a look at each file. Hidden files and folders do
    not count, nor do those that storage devices leave (`SYSTEM_FOLDERS`). Links to folders and to
    images are followed. Memory: the names, and 8 bytes per
    image.

    Attributes:
        identities: the folders' names; an image's label is the place of its own among them.
        labels: int32 [n], ascending.
        ignored: files that were left out, those in the root and those whose name does not end as an
            image's does, counted by their ending.
        system_folders: names of the folders in the root that were left out as a system's, sorted.

    """

    labels: np.ndarray
    num_classes: int

    def __init__(self, root: str | Path):
        """List the folders.

        Raises:
            UserError: the root or a folder in it cannot be listed; there is no folder in it; one
                has no images, or has folders.

        """
        self._root = str(root)
        self.ignored: Counter[str] = Counter()
        self.system_folders: list[str] = []
        self.identities, images = self._listed_root()
        if not self.identities:
            remedy = f"it holds {images} images itself: move each" if images else "move each image"
            raise UserError(
                f"{shown(self._root)}: holds no folders; {remedy} into a folder of its identity"
            )
        self._names = bytearray()  # each ends in a zero byte, which no name can hold
        self._bases = array("Q")  # where each identity's names begin
        self._offsets = array("I")  # where each image's name begins behind that
        counts = array("I")
        seconds = 0.1 if sys.stderr.isatty() else 10.0
        for identity in tqdm(
            self.identities, unit=" folders", delay=SHOW_PROGRESS_AFTER, mininterval=seconds
        ):
            names = [os.fsencode(name) + b"\0" for name in self._listed(identity)]
            starts = np.cumsum([0] + [len(name) for name in names[:-1]], dtype=np.uint32)
            self._bases.append(len(self._names))
            self._offsets.frombytes(starts.tobytes())
            self._names += b"".join(names)
            counts.append(len(names))
        self.num_classes = len(self.identities)
        self.labels = np.repeat(np.arange(self.num_classes, dtype=np.int32), counts)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._offsets)

    def path(self, index: int) -> str:
        """Return the file's path."""
        return os.path.join(self._root, self.name(index))

    def name(self, index: int) -> str:
        """Return `identity/file`."""
        identity = int(self.labels[index])
        begin = self._bases[identity] + self._offsets[index]
        file = self._names[begin : self._names.index(0, begin)]
        return f"{self.identities[identity]}/{os.fsdecode(bytes(file))}"

    @property
    def num_ignored(self) -> int:
        """Return how many files were left out."""
        return self.ignored.total()

    @property
    def left_out(self) -> str:
        """Return what of the folder does not count, by endings, in one line; or ""."""
        most = self.ignored.most_common(ENDINGS_SHOWN)
        parts = [f"{count} {ending}" for ending, count in most]
        if rest := self.num_ignored - sum(count for _, count in most):
            parts.append(f"{rest} of other endings")
        said = []
        if parts:
            said.append(f"{self.num_ignored} files that are no images: {', '.join(parts)}")
        if self.system_folders:
            said.append(f"folders of the system: {', '.join(self.system_folders)}")
        return shown(f"left out {'; '.join(said)}") if said else ""

    def _listed_root(self) -> tuple[list[str], int]:
        """Return names of the folders, sorted, and how many images are beside them."""
        folders: list[str] = []
        images = 0
        for entry in _entries(self._root, hidden=True):
            if _is_folder(entry, follow=True):
                system = is_system_folder(entry.name)
                (self.system_folders if system else folders).append(entry.name)
            elif not entry.name.startswith("."):
                self.ignored[_ending(entry.name)] += 1
                images += is_image_name(entry.name)
        self.system_folders.sort()
        return sorted(folders), images

    def _listed(self, identity: str) -> list[str]:
        """Return the images' names in one folder, sorted."""
        path = os.path.join(self._root, identity)
        images, folders = [], []
        for entry in _entries(path):
            is_image = is_image_name(entry.name)
            # A link with the ending of an image is taken for one: to follow it costs a look.
            if _is_folder(entry, follow=not is_image):
                folders += [entry.name] * (not is_system_folder(entry.name))
            elif is_image:
                images.append(entry.name)
            else:
                self.ignored[_ending(entry.name)] += 1
        if folders and images:
            raise UserError(
                f"{shown(path)}: holds images and the folder {min(folders)!r}: images must lie "
                "directly in the folder of their identity"
            )
        if folders:
            raise UserError(
                f"{shown(path)}: holds folders and no images: is the root one level too high? It "
                "must hold one folder per identity, with the images in it"
            )
        if not images:
            raise UserError(
                f"{shown(path)}: holds no images ({' '.join(IMAGE_ENDINGS)}): remove this folder, "
                "or put the identity's images into it"
            )
        return sorted(images)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower() or name


def _entries(path: str, *, hidden: bool = False) -> Iterator[os.DirEntry[str]]:
    """Return what is in a folder, what is `hidden` only if asked for."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if hidden or not entry.name.startswith("."):
                    yield entry
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be listed: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:  # a link that leads round in a circle, or where nobody may look
        return False
