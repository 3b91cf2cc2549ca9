"""Images named by a text list."""

import os
from pathlib import Path

import numpy as np

from plsc.data.lists.image_root import shown
from plsc.data.lists.label_list import LabelList, ListFormat
from plsc.data.sets.files import FILES_TO_TRY, ImageFiles, try_files
from plsc.data.sets.pair_lists import refuse_pairs


class ListedImages(ImageFiles):
    """Images listed as `path<delimiter>class` or `path 0 class 0`, relative to a folder.

    A list of 42.5 million images takes 10 bytes of memory per image; its text stays in its file.
    """

    labels: np.ndarray

    def __init__(
        self,
        image_root: str | Path,
        list_path: str | Path,
        *,
        delimiter: str = "\t",
        layout: ListFormat = "plsc",
    ):
        """Read the list, and look whether its first files are there.

        Args:
            image_root: the folder that paths are relative to; "/" admits any absolute path.
            list_path: the list.
            delimiter: of the layout "plsc"; the last one in a line counts.
            layout: "plsc", `path<delimiter>class`; or "magface", `path 0 class 0`; or a list of
                MXNet's tools, "face2rec2" or "im2rec".

        Raises:
            UserError: a line of the list is wrong or its path leaves `image_root` (see
                `LabelList`), or one of the first files is missing.

        """
        self._root = str(image_root)
        if layout == "plsc":
            refuse_pairs(list_path)
        self._list = LabelList(list_path, delimiter=delimiter, layout=layout, image_root=self._root)
        self.labels = self._list.labels
        self.num_classes = int(self.labels.max()) + 1
        first = range(min(FILES_TO_TRY, len(self)))
        try_files(
            [self.path(index) for index in first], self._root, str(list_path), self._list.where
        )

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._list)

    def where(self, index: int) -> str:
        """Return the file, and the line that lists it."""
        return f"{shown(self.path(index))} ({self._list.where(index)})"

    def name(self, index: int) -> str:
        """Return the path as it is listed."""
        return self._list.image_path(index)

    def path(self, index: int) -> str:
        """Return the file's path."""
        return os.path.join(self._root, self._list.image_path(index))
