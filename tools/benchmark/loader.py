"""Images/s of the training loader from each format, against OpenCV's decoder alone on one core.

The same images lie in a record file, in files named by a list, and in a folder per identity. Each
is read by TrainLoader with the transforms of the configs. In between, one process decodes the same
bytes from memory with nothing but cv2.imdecode: the most that a core can do. The ratio says what
share of cores x that speed arrives; machines are noisy, so read the ratio and not the speeds.

With --index the question is another one: how long an index of so many images takes to open and an
epoch of it to shuffle, and with how much memory. The set is made on the spot (the images of its
record file are a hole), opened in a process of its own, and deleted.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from large_index import FORMATS, measure_index  # noqa: E402

from plsc.data.dataset.face import FaceIdentificationDataset  # noqa: E402
from plsc.data.dataset.folder import FaceFolderDataset  # noqa: E402
from plsc.data.dataset.images import LabelledImages  # noqa: E402
from plsc.data.dataset.records import FaceRecordDataset  # noqa: E402
from plsc.data.dataset.synthetic import Identity, View, render_face  # noqa: E402
from plsc.data.loader import TrainLoader  # noqa: E402
from plsc.data.output import available_cores, exit_status, progress_bar  # noqa: E402
from plsc.data.recordio import RecordWriter  # noqa: E402
from plsc.data.sampler import EpochSampler  # noqa: E402
from plsc.data.source.records import RecordImages, rec_files  # noqa: E402
from plsc.errors import UserError  # noqa: E402

EXAMPLES = """examples:
  python tools/benchmark/loader.py                    rendered faces, all cores
  python tools/benchmark/loader.py --data ms1mv3      the first images of ms1mv3/train.rec
  python tools/benchmark/loader.py --index 42500000   an index of WebFace42M's size"""
TRANSFORMS = ["DecodeImage", "RandFlipImage", "NormalizeImage", "ToCHWImage"]
PER_IDENTITY = 20
RENDERED = 640  # different faces; repeated to --images


def faces(count: int, quality: int) -> Iterator[bytes]:
    """Rendered faces as JPEG files."""
    with progress_bar(count, "faces rendered") as bar:
        for number in range(count):
            person, image = divmod(number, PER_IDENTITY)
            view = View.sample(0, person, image)
            pixels, _, _ = render_face(Identity.sample(0, person), view)
            yield cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[
                1
            ].tobytes()
            bar.update()


def different_images(options: argparse.Namespace) -> list[bytes]:
    """The images to be repeated: of --data, or rendered."""
    if options.data is None:
        return list(faces(min(RENDERED, options.images), options.quality))
    source = RecordImages(rec_files(options.data))
    return [source.read(row)[0] for row in range(min(len(source), options.images))]


def write_sets(folder: Path, images: Sequence[bytes], count: int) -> list[bytes]:
    """`count` images in each format below `folder`; returns them in their order."""
    written, lines = [images[row % len(images)] for row in range(count)], []
    with RecordWriter(folder / "train.rec") as records:
        classes = -(-count // PER_IDENTITY)
        records.write(0, b"", labels=[count + 1.0, count + 1.0 + classes])
        for row, image in enumerate(written):
            label, number = divmod(row, PER_IDENTITY)
            records.write(row + 1, image, labels=float(label))
            path = f"people/{label:07d}/{number:02d}.jpg"
            lines.append(f"{path}\t{label}\n")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(image)
        for label in range(classes):
            begin = label * PER_IDENTITY + 1.0
            end = min(begin + PER_IDENTITY, count + 1.0)
            records.write(count + 1 + label, b"", labels=[begin, end])
    (folder / "label.txt").write_text("".join(lines))
    # As from a disk, each image in memory of its own.
    return [bytes(bytearray(image)) for image in written]


def open_sets(folder: Path) -> dict[str, tuple[LabelledImages, bool]]:
    """Sets by name, and whether they are shuffled."""
    records = FaceRecordDataset(str(folder), TRANSFORMS)
    listed = FaceIdentificationDataset(str(folder), str(folder / "label.txt"), TRANSFORMS)
    return {
        "record file": (records, True),
        "record file, in order": (records, False),
        "list of files": (listed, True),
        "folder per identity": (FaceFolderDataset(str(folder / "people"), TRANSFORMS), True),
    }


def decoding_speed(images: Sequence[bytes]) -> float:
    """Images/s of OpenCV alone, on this core."""
    began = time.perf_counter()
    for image in images:
        cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return len(images) / (time.perf_counter() - began)


def loading_speed(loader: TrainLoader, epoch: int) -> float:
    """Images/s of a whole epoch, the filling of the queue included."""
    began, count = time.perf_counter(), 0
    for images, _ in loader.batches(epoch):
        count += len(images)
    return count / (time.perf_counter() - began)


def measure_loading(options: argparse.Namespace) -> dict[str, Any]:
    """Speeds and ratios of each format, medians over the rounds."""
    cores, different = available_cores(), different_images(options)
    with tempfile.TemporaryDirectory(dir=options.temporary) as name:
        images = write_sets(Path(name), different, options.images)
        loaders = {}
        for format_, (dataset, shuffle) in open_sets(Path(name)).items():
            sampler = EpochSampler(len(dataset), batch_size=options.batch, shuffle=shuffle)
            loaders[format_] = TrainLoader(dataset, sampler, num_workers=options.workers)
            loaders[format_].start()
        alone = [decoding_speed(images)]
        speeds: dict[str, list[float]] = {format_: [] for format_ in loaders}
        ratios: dict[str, list[float]] = {format_: [] for format_ in loaders}
        with progress_bar(options.rounds, "rounds") as bar:
            for round_ in range(options.rounds):
                for format_, loader in loaders.items():
                    speeds[format_].append(loading_speed(loader, round_))
                    alone.append(decoding_speed(images))
                    around = statistics.mean(alone[-2:])
                    ratios[format_].append(speeds[format_][-1] / (cores * around))
                bar.update()
        for loader in loaders.values():
            loader.close()
    return {
        "images": options.images,
        "bytes_per_image": round(sum(map(len, images)) / len(images)),
        "cores": cores,
        "workers": options.workers,
        "batch": options.batch,
        "rounds": options.rounds,
        "imdecode_images_per_second": round(statistics.median(alone)),
        "formats": {
            format_: {
                "images_per_second": round(statistics.median(speeds[format_])),
                "ratio": round(statistics.median(ratios[format_]), 3),
                "ratio_lowest": round(min(ratios[format_]), 3),
                "ratio_highest": round(max(ratios[format_]), 3),
            }
            for format_ in loaders
        },
    }


def show_loading(report: dict[str, Any]) -> None:
    """The table."""
    print(
        f"{report['images']} images of {report['bytes_per_image']} bytes, {report['cores']} cores, "
        f"{report['workers']} workers, batches of {report['batch']}, {report['rounds']} rounds\n"
        f"cv2.imdecode alone on one core: {report['imdecode_images_per_second']} images/s\n"
    )
    print(f"{'':24}{'images/s':>10}{'ratio':>8}{'(lowest - highest)':>20}")
    for name, row in report["formats"].items():
        spread = f"({row['ratio_lowest']:.2f} - {row['ratio_highest']:.2f})"
        print(f"{name:24}{row['images_per_second']:10d}{row['ratio']:8.2f}{spread:>20}")
    print(f"\nratio = images/s / ({report['cores']} cores x cv2.imdecode alone)")


def show_index(report: dict[str, Any]) -> None:
    """The table."""
    print(f"{report['images']} images\n")
    print(f"{'':12}{'opens in':>10}{'peak':>9}{'shuffles in':>13}{'peak then':>11}")
    for name, row in report["formats"].items():
        print(
            f"{name:12}{row['open_seconds']:8.1f} s{row['open_gigabytes']:6.2f} GB"
            f"{row['shuffle_seconds']:11.1f} s{row['shuffle_gigabytes']:8.2f} GB"
        )


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    numbers = {
        "images": (16384, "images of an epoch; fewer different ones are repeated"),
        "batch": (128, "images of a batch"),
        "workers": (available_cores(), "processes of the loader"),
        "rounds": (7, "times that everything is measured, in turn"),
        "quality": (95, "of the rendered faces' JPEG files"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (%(default)s)")
    parser.add_argument(
        "--data", metavar="FOLDER", help="images of the .rec files there (rendered faces)"
    )
    parser.add_argument(
        "--temporary", metavar="FOLDER", help="where the sets are made (the system's place)"
    )
    parser.add_argument(
        "--index", type=int, metavar="N", help="measure opening and shuffling N images instead"
    )
    parser.add_argument(
        "--format", choices=[*FORMATS, "all"], default="all", help="of --index (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main() -> int:
    """The command; returns the exit status."""
    options = build_parser().parse_args()

    def work() -> None:
        for name in ("images", "batch", "rounds"):
            if getattr(options, name) < 1:
                raise UserError(f"--{name} must be at least 1, got {getattr(options, name)}")
        if options.index is None:
            report, show = measure_loading(options), show_loading
        else:
            formats = FORMATS if options.format == "all" else (options.format,)
            report = measure_index(options.index, formats, options.temporary)
            show = show_index
        if options.json:
            print(json.dumps(report))
        else:
            show(report)

    cv2.setNumThreads(1)
    return exit_status(Path(__file__).name, work)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
