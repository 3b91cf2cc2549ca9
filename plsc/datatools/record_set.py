"""A source of images -> a RecordIO set in InsightFace's layout."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plsc.data.loader.image_map import fill_rows, map_images
from plsc.data.records.recordio import EXACT_LABELS, RecordWriter
from plsc.data.sets.base import BadImage, ImageSource
from plsc.data.sets.labels import UNKNOWN, labels_of
from plsc.datatools.preparation import Preparation, prepared
from plsc.errors import UserError

AT_ONCE = 32  # images
SLOT_BYTES = 4 << 20  # of the files of so many images; more travel another, slower way


@dataclass(frozen=True)
class PackingOrder:
    """The place of each image in the set to be written.

    Attributes:
        rows: int64 [n], images of the source by ascending class, within one in the source's order.
        starts: int64 [classes + 1]: `rows[starts[k] : starts[k + 1]]` are the images of class k.
        originals: int64 [classes], what class k is in the source; None if that is k.
        rearranged: the source has them in another order.

    """

    rows: np.ndarray
    starts: np.ndarray
    originals: np.ndarray | None
    rearranged: bool


@dataclass(frozen=True)
class ResizeCounts:
    """Numbers of images that were resized, and of those that changed their proportions."""

    resized: int
    stretched: int


def survey(
    source: ImageSource, preparation: Preparation, *, skip: bool, num_workers: int
) -> tuple[np.ndarray, list[str]]:
    """Return int64 [n], the class of each image, -1 of those to be left out; and why they are.

    With `skip` every image is read, and prepared as for writing.

    Raises:
        BadImage: an image that tells its own class cannot be read, and nothing is skipped.

    """
    if not skip:
        labels = labels_of(source, num_workers=num_workers)
        if len(unknown := np.flatnonzero(labels == UNKNOWN)):
            source.read(int(unknown[0]))  # says what is wrong with it
        return labels, []

    def look(rows: range) -> tuple[list[np.ndarray], list[str]]:
        found, faults = np.full(len(rows), UNKNOWN, np.int64), []
        for place, row in enumerate(rows):
            try:
                found[place] = prepared(source, row, preparation)[1]
            except BadImage as error:
                faults.append(str(error))
        return [found], faults

    labels = np.empty(len(source), np.int64)
    faults = fill_rows([labels], look, num_workers=num_workers, unit="images checked")
    return labels, list(itertools.chain.from_iterable(faults))


def packing_order(labels: np.ndarray, *, relabel: bool = False) -> PackingOrder:
    """Return the places of images with these classes (-1: none).

    Args:
        labels: int [n].
        relabel: number the classes that occur from 0 on, in their order.

    Raises:
        UserError: there are no images, a class has none, or float32 cannot hold the classes.

    """
    rows = np.flatnonzero(labels != UNKNOWN)
    if not len(rows):
        raise UserError("no image is left to pack")
    labels, originals = labels[rows], None
    if relabel:
        originals, labels = np.unique(labels, return_inverse=True)
    largest = int(labels.max())
    if largest >= EXACT_LABELS:
        remedy = "train from the source itself" if relabel else "number them anew with --relabel"
        raise UserError(
            f"class {largest}: RecordIO's float32 labels are exact only below {EXACT_LABELS}: "
            f"{remedy}"
        )
    counts = np.bincount(labels)
    if len(empty := np.flatnonzero(counts == 0)):
        raise UserError(
            f"classes must have no gaps: of 0 to {largest}, {len(empty)} have no image, the first "
            f"is {empty[0]}: number them anew with --relabel"
        )
    rearranged = bool((labels[1:] < labels[:-1]).any())
    if rearranged:
        rows = rows[np.argsort(labels, kind="stable")]
    return PackingOrder(rows, np.concatenate([[0], np.cumsum(counts)]), originals, rearranged)


def pack_records(
    path: Path,
    source: ImageSource,
    places: PackingOrder,
    preparation: Preparation,
    *,
    header: bool = True,
    shuffle_seed: int | None = None,
    num_workers: int = 1,
) -> ResizeCounts:
    """Write the `.rec` file with its `.idx`; the same bytes whatever `num_workers` is.

    Args:
        path: the `.rec` file.
        source: the images.
        places: which of them, and their order.
        preparation: what happens to each.
        header: InsightFace's layout: record 0 and identity records, images have keys from 1 on.
            Without: im2rec's: nothing but images, with keys from 0 on.
        shuffle_seed: put the images into the file in an order drawn with this seed. Their keys
            are the same without it.
        num_workers: processes that read and prepare.

    Raises:
        BadImage: an image cannot be read or used.

    """
    num_images = len(places.rows)
    order: np.ndarray | None = None
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(num_images)

    def places_of(numbers: range) -> np.ndarray:
        """Return the places in the order of these images of the file."""
        if order is None:
            return np.arange(numbers.start, numbers.stop)
        return order[numbers.start : numbers.stop]

    def read(numbers: range) -> tuple[list[np.ndarray], tuple[list[int], int, int, bytes]]:
        rows = places.rows[places_of(numbers)]
        files = [prepared(source, row, preparation)[0] for row in rows.tolist()]
        images = [image for image, _, _ in files]
        content, sizes = b"".join(images), [len(image) for image in images]
        counts = sum(resized for _, resized, _ in files), sum(bad for _, _, bad in files)
        if len(content) > SLOT_BYTES:
            return [], (sizes, *counts, content)
        return [np.frombuffer(content, np.uint8)], (sizes, *counts, b"")

    first_key, number, total_resized, total_stretched = int(header), 0, 0, 0
    with (
        RecordWriter(path) as writer,
        map_images(
            read, num_images, num_workers=num_workers, at_once=AT_ONCE, slot_bytes=SLOT_BYTES
        ) as results,
    ):
        if header:
            _write_header(writer, places)
        for arrays, (sizes, resized, stretched, content) in results:
            content = arrays[0].tobytes() if arrays else content
            rows = places_of(range(number, number + len(sizes)))
            classes = np.searchsorted(places.starts, rows, side="right") - 1
            begin = 0
            for row, label, size in zip(rows.tolist(), classes.tolist(), sizes, strict=True):
                writer.write(first_key + row, content[begin : begin + size], labels=float(label))
                begin += size
            number += len(sizes)
            total_resized, total_stretched = total_resized + resized, total_stretched + stretched
        if header:
            _write_identities(writer, places)
    return ResizeCounts(total_resized, total_stretched)


def _write_header(writer: RecordWriter, places: PackingOrder) -> None:
    """Write record 0: where the identity records begin and end; images have keys from 1 on."""
    begin = 1 + len(places.rows)
    writer.write(0, b"", labels=_float32(begin, begin + len(places.starts) - 1))


def _write_identities(writer: RecordWriter, places: PackingOrder) -> None:
    """Write a record for each class: the keys of its images."""
    bounds = (places.starts + 1).tolist()
    for key, (first, last) in enumerate(
        zip(bounds[:-1], bounds[1:], strict=True), start=1 + len(places.rows)
    ):
        writer.write(key, b"", labels=_float32(first, last))


def _float32(*numbers: int) -> list[float]:
    """Return the nearest numbers that float32 holds, as InsightFace's sets of this size have."""
    return [float(np.float32(number)) for number in numbers]
