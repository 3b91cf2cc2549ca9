"""Open a path as the kind of set that it is: a training set, pairs, loose images, or files.

.rec file, or a folder that holds some     training set: MXNet RecordIO
.bin file                                  pairs
folder with label.txt                      that list
other folder                               training set if it has a folder per identity; loose
images
other file                                 list: of pairs, LFW's or CPLFW's, or of a training set
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plsc.data.lists.image_root import shown
from plsc.data.lists.label_list import LABEL_FILE
from plsc.data.lists.list_columns import image_form, pair_form
from plsc.data.lists.paired_lines import read_paired_lines
from plsc.data.sets.base import ImageSource
from plsc.data.sets.files import is_folder, is_image_name
from plsc.data.sets.folder import FolderImages
from plsc.data.sets.list_form import open_list
from plsc.data.sets.loose import NamedImages, folder_images
from plsc.data.sets.pair_lists import first_lines, has_lfw_header
from plsc.data.sets.pairs import BinPairs, LfwPairs, ListedPairs, PairSet, distinct_images
from plsc.data.sets.record_images import RecordImages, rec_files_in
from plsc.data.sets.set_names import set_name
from plsc.errors import UserError


def open_source(
    path: str | Path,
    image_root: str | None = None,
    *,
    list_format: str | None = None,
    delimiter: str | None = None,
) -> ImageSource:
    """Return the images and classes at `path`.

    Args:
        path: the set.
        image_root: of a list: the folder that its paths begin in; the list's own if not given.
        list_format: of a list: "plsc" (path, delimiter, class) or "magface" (`path 0 class 0`);
            told from its first lines if not given.
        delimiter: of a list in PLSC's layout; told from its first lines if not given.

    Raises:
        UserError: there is nothing, or something else, or the source refuses it.

    """
    place, files = Path(path), list[Path]()
    if folder := is_folder(place):
        files = rec_files_in(place)
        if not files and os.path.isfile(place / LABEL_FILE):
            place, folder = place / LABEL_FILE, False
    elif place.suffix == ".rec":
        files = [place]
    of_list = {"image_root": image_root, "list_format": list_format, "delimiter": delimiter}
    given = [f"--{name.replace('_', '-')}" for name, value in of_list.items() if value is not None]
    if given and (files or folder):
        raise UserError(f"{given[0]} belongs to a list, and {path} is none: leave it out")
    if files:
        return RecordImages(files)
    if folder:
        return FolderImages(str(place))
    return open_list(place, image_root, list_format, delimiter)


def open_pairs(path: str | Path, image_root: str | Path | None = None) -> PairSet | None:
    """Return the pairs of a `.bin` file, a list of pairs or LFW's `pairs.txt`; None of others.

    Args:
        path: the file; what it is shows in its ending and its first line. Or a folder with a
            list of pairs called `label.txt`.
        image_root: the folder that a list's paths begin at; the list's own if not given.

    Raises:
        UserError: it is damaged, or names images that are not there or not below `image_root`.

    """
    path = Path(path)
    if path.suffix == ".bin":
        return BinPairs(path)
    if (path / LABEL_FILE).is_file():  # what is made of a .bin
        path /= LABEL_FILE
    if not path.is_file():
        return None
    root = path.parent if image_root is None else image_root
    lines = first_lines(path)
    form = pair_form(lines)
    fields = lines[0].rsplit(b"\t", 2) if lines else []
    flagged = len(fields) == 3 and fields[0].strip() and fields[2].strip() in (b"0", b"1")
    if flagged and form is None and image_form(lines) is None:
        return ListedPairs(path, root)  # which says what is wrong with a line behind the first
    match form:
        case ("columns", delimiter):
            return ListedPairs(path, root, delimiter=delimiter)
        case ("label first", _):
            raise UserError(
                f"{path}:1: the flag comes first: a line is two image paths, then 0 or 1"
            )
        case ("lfw", _):
            return LfwPairs(path, root)
    if has_lfw_header(lines):
        return LfwPairs(path, root)
    found = read_paired_lines(path)
    return None if found is None else ListedPairs(path, root, pairs=found)


def open_pair_set(path: str | Path, image_root: str | Path | None = None) -> tuple[str, PairSet]:
    """Return the name of the set at `path`, and its pairs.

    Raises:
        UserError: there is no set of pairs, or a damaged one.

    """
    if not Path(path).exists():
        raise UserError(f"{shown(str(path))}: no such file")
    pairs = open_pairs(path, image_root)
    if pairs is None:
        raise UserError(
            f"{shown(str(path))}: is no verification set: neither a .bin file, nor a folder with "
            "label.txt, nor a list of lines path<TAB>path<TAB>0 or 1, nor LFW's pairs.txt"
        )
    return set_name(path), pairs


def open_pair_sets(
    bins: Sequence[str], lists: Sequence[str], image_root: str | None
) -> list[tuple[str, PairSet]]:
    """Return names and pairs of `.bin` files, then of lists whose paths begin at `image_root`."""
    opened = [open_pair_set(path) for path in bins]
    return opened + [open_pair_set(path, image_root) for path in lists]


def open_images(
    path: str | Path,
    image_root: str | None = None,
    *,
    list_format: str | None = None,
    delimiter: str | None = None,
) -> ImageSource:
    """Return the images of any set, those of pairs once each; arguments as of `open_source`.

    Raises:
        UserError: it is no set, or a damaged one.

    """
    place = Path(path)
    if (list_format, delimiter) != (None, None) or _holds_records(place):
        return open_source(path, image_root, list_format=list_format, delimiter=delimiter)
    if image_root is None and is_plain_folder(place):
        return folder_images(place)
    if image_root is not None and place.suffix == ".bin":
        raise UserError(f"--image-root belongs to a list, and {place} is none: leave it out")
    pairs = open_pairs(place, image_root)
    return open_source(path, image_root) if pairs is None else distinct_images(pairs)


def open_files_or_set(paths: Sequence[str], **of_list: str | None) -> ImageSource:
    """Return the images of one set, or image files one by one; see `open_images`.

    Raises:
        UserError: they are not there, none, or damaged.

    """
    if are_files(paths):
        return NamedImages(paths)
    source = open_images(paths[0], **of_list)
    if not len(source):
        raise UserError(f"{shown(paths[0])}: holds no images")
    return source


def are_files(paths: Sequence[str]) -> bool:
    """Tell image files from one set of them."""
    return len(paths) > 1 or (is_image_name(paths[0]) and not os.path.isdir(paths[0]))


def is_plain_folder(place: Path) -> bool:
    """Tell whether a folder's images are all that it holds, not what a list or `.rec` file says."""
    return place.is_dir() and not _holds_records(place) and not (place / LABEL_FILE).is_file()


def fingerprint(paths: Sequence[str], source: ImageSource, **of_list: str | None) -> dict[str, Any]:
    """Return what tells one source from another without a look into its images, as JSON has it.

    Of files: their sizes and time stamps; of folders: the images' names.

    Args:
        paths: of the source, as of `open_files_or_set`.
        source: what was opened.
        of_list: as it was opened.

    """
    if are_files(paths):
        return {"files": [_stamp(os.path.abspath(path), Path(path)) for path in paths]}
    place = Path(paths[0]).resolve()
    files = [place]
    if not place.is_file():
        listed = place / LABEL_FILE
        files = rec_files_in(place) or [path for path in [listed] if path.is_file()]
    found: dict[str, Any] = {"path": str(place)}
    if files:
        found["files"] = [_stamp(path.name, path) for path in files]
    else:
        digest = hashlib.sha256()
        for index in range(len(source)):
            digest.update(source.name(index).encode(errors="surrogateescape") + b"\0")
        found["names"] = digest.hexdigest()
    for name, value in of_list.items():
        if value is not None:
            found[name] = str(Path(value).resolve()) if name == "image_root" else value
    return found


def _stamp(name: str, path: Path) -> list[str | int]:
    status = path.stat()
    return [name, status.st_size, status.st_mtime_ns]


def _holds_records(place: Path) -> bool:
    return place.suffix == ".rec" or (place.is_dir() and bool(rec_files_in(place)))
