"""The same faces in each format that training reads."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from plsc.data.records.recordio import RecordWriter
from plsc.data.sets.record_images import RecordImages, rec_files
from plsc.datatools.drawn_face.render import Identity, View, render_face
from plsc.files.progress import progress_bar
from plsc.recognition.datasets.face import FaceIdentificationDataset
from plsc.recognition.datasets.folder import FaceFolderDataset
from plsc.recognition.datasets.images import LabelledImages
from plsc.recognition.datasets.records import FaceRecordDataset

TRANSFORMS = ["DecodeImage", "RandFlipImage", "NormalizeImage", "ToCHWImage"]
PER_IDENTITY = 20


def rendered(count: int, quality: int) -> Iterator[bytes]:
    """Rendered faces as JPEG files."""
    with progress_bar(count, "faces rendered") as bar:
        for number in range(count):
            person, image = divmod(number, PER_IDENTITY)
            view = View.sample(0, person, image)
            pixels, _, _ = render_face(Identity.sample(0, person), view)
            parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
            yield cv2.imencode(".jpg", pixels[..., ::-1], parameters)[1].tobytes()
            bar.update()


def recorded(root: str, most: int) -> list[bytes]:
    """Return the first images of the `.rec` files at `root`."""
    source = RecordImages(rec_files(root))
    return [source.read(row)[0] for row in range(min(len(source), most))]


def write_sets(folder: Path, images: Sequence[bytes]) -> None:
    """`images` in each format below `folder`, in the same order."""
    lines = []
    first, stop = len(images) + 1, len(images) + 1 + -(-len(images) // PER_IDENTITY)
    with RecordWriter(folder / "train.rec") as records:
        records.write(0, b"", labels=[float(first), float(stop)])
        for row, image in enumerate(images):
            label, number = divmod(row, PER_IDENTITY)
            records.write(row + 1, image, labels=float(label))
            path = f"people/{label:07d}/{number:02d}.jpg"
            lines.append(f"{path}\t{label}\n")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(image)
        for key in range(first, stop):
            begin = (key - first) * PER_IDENTITY + 1
            end = min(begin + PER_IDENTITY, first)
            records.write(key, b"", labels=[float(begin), float(end)])
    (folder / "label.txt").write_text("".join(lines))


def open_sets(folder: Path) -> dict[str, tuple[LabelledImages, bool]]:
    """Sets by name, and whether each is to be shuffled."""
    records = FaceRecordDataset(str(folder), TRANSFORMS)
    listed = FaceIdentificationDataset(str(folder), str(folder / "label.txt"), TRANSFORMS)
    return {
        "record file": (records, True),
        "record file, in order": (records, False),
        "list of files": (listed, True),
        "folder per identity": (FaceFolderDataset(str(folder / "people"), TRANSFORMS), True),
    }
