"""Sets of millions of images of which only the indexes exist, and what it takes to open them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plsc.data.records.recordio import RecordWriter
from plsc.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("rec", "list", "magface")
PER_IDENTITY = 20
RECORD_BYTES = 8192  # from one record to the next
AT_ONCE = 1 << 18  # lines
OPEN = """
import json, resource, sys, time

def gigabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9

from plsc.recognition.datasets.face import FaceIdentificationDataset
from plsc.recognition.datasets.records import FaceRecordDataset
from plsc.data.loader.sampler import EpochSampler

format, folder, images = sys.argv[1], sys.argv[2], int(sys.argv[3])
began = time.perf_counter()
if format == "rec":
    dataset = FaceRecordDataset(folder)
else:
    dataset = FaceIdentificationDataset(folder, f"{folder}/list.txt", list_format=format)
opened, open_gigabytes = time.perf_counter() - began, gigabytes()
assert len(dataset) == images, len(dataset)
began = time.perf_counter()
order = EpochSampler(len(dataset), batch_size=128).order(0)
shuffled = time.perf_counter() - began
print(json.dumps({
    "open_seconds": round(opened, 2), "open_gigabytes": round(open_gigabytes, 3),
    "shuffle_seconds": round(shuffled, 2), "shuffle_gigabytes": round(gigabytes(), 3),
}))
"""


def measure_index(images: int, formats: Sequence[str], temporary: str | None) -> dict[str, Any]:
    """Seconds and peak memory (bytes / 1e9) of opening and of shuffling, for each format."""
    if images < PER_IDENTITY:
        raise UserError(f"--index must be at least {PER_IDENTITY}, got {images}")
    report = {}
    for format_ in formats:
        with tempfile.TemporaryDirectory(dir=temporary) as name:
            print(f"writing an index of {images} images ({format_})", file=sys.stderr, flush=True)
            if format_ == "rec":
                write_records(Path(name), images)
            else:
                write_list(Path(name), images, "{}\t{}\n" if format_ == "list" else "{} 0 {} 0\n")
            layout = "plsc" if format_ == "list" else format_
            done = subprocess.run(
                [sys.executable, "-c", OPEN, layout, name, str(images)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            report[format_] = json.loads(done.stdout)
    return {"images": images, "formats": report}


def write_records(folder: Path, images: int) -> None:
    """InsightFace's layout; of the records only 0, the first identity and the last are written."""
    identities = -(-images // PER_IDENTITY)
    first, last = images + 1, images + identities
    with RecordWriter(folder / "few.rec") as few:
        begins = [
            # As in such sets: the nearest numbers that float32 holds.
            few.write(0, b"", labels=np.array([first, last + 1], np.float32).tolist()),
            few.write(first, b"", labels=[1.0, PER_IDENTITY + 1.0]),
            few.write(last, b"", labels=[1.0, 2.0]),
        ]
    content = (folder / "few.rec").read_bytes()
    ends = [*begins[1:], len(content)]
    with open(folder / "train.rec", "wb") as file:
        for key, begin, end in zip((0, first, last), begins, ends, strict=True):
            file.seek(key * RECORD_BYTES)
            file.write(content[begin:end])
    for name in ("few.rec", "few.idx"):
        (folder / name).unlink()
    with open(folder / "train.idx", "w", encoding="ascii") as file:
        for keys in blocks(last + 1):
            file.write("".join([f"{key}\t{key * RECORD_BYTES}\n" for key in keys]))


def write_list(folder: Path, images: int, line: str) -> None:
    """A list with `line` for path and class; the first three files exist."""
    with open(folder / "list.txt", "w", encoding="ascii") as file:
        for rows in blocks(images):
            file.write("".join([line.format(image_path(row), row // PER_IDENTITY) for row in rows]))
    for row in range(3):
        (folder / image_path(row)).parent.mkdir(parents=True, exist_ok=True)
        (folder / image_path(row)).touch()


def image_path(row: int) -> str:
    """As WebFace42M's: a folder per identity."""
    return f"{row // PER_IDENTITY % 10}/{row // PER_IDENTITY:07d}/{row:08d}.jpg"


def blocks(count: int) -> Iterator[range]:
    """0 to `count` in parts."""
    for start in range(0, count, AT_ONCE):
        yield range(start, min(start + AT_ONCE, count))
