"""Images/s of the training loader from each format, against OpenCV's decoder alone on one core.

The same images lie in a record file, in files named by a list, and in a folder per identity. Each
is read by TrainLoader with the transforms of the configs. In between, one process decodes the same
bytes from memory with nothing but cv2.imdecode: the most that a core can do. A ratio says what
share of cores x that arrives:
  wall       by images/s; medians of the rounds. Other programs lower it.
  best       by images/s of the best rounds, which met other programs least.
  CPU time   by the time that all processes computed for an image: the ratio on cores left alone.

With --index the question is another one: how long an index of so many images takes to open and an
epoch of it to shuffle, and with how much memory. The set is made on the spot (the images of its
record file are a hole), opened in a process of its own, and deleted.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from face_sets import open_sets, recorded, rendered, write_sets  # noqa: E402
from large_index import FORMATS, measure_index  # noqa: E402

from plsc.cli.status import exit_status  # noqa: E402
from plsc.data.loader.batches import TrainLoader  # noqa: E402
from plsc.data.loader.sampler import EpochSampler  # noqa: E402
from plsc.errors import UserError  # noqa: E402
from plsc.files.progress import progress_bar  # noqa: E402
from plsc.nn.environment import cores  # noqa: E402

EXAMPLES = """examples:
  python tools/benchmark/loader.py                    rendered faces, all cores
  python tools/benchmark/loader.py --data ms1mv3      the first images of ms1mv3/train.rec
  python tools/benchmark/loader.py --index 42500000   an index of WebFace42M's size"""
DIFFERENT = 640  # rendered faces


class Clock:
    """Wall and CPU time of this process per image, round by round."""

    def __init__(self) -> None:
        self.speeds: list[float] = []
        self.cpu_seconds, self.images = 0.0, 0

    def __enter__(self) -> "Clock":
        self._began, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = time.perf_counter() - self._began
        self.cpu_seconds += time.process_time() - self._cpu

    def count(self, images: int) -> None:
        """Say how many images the round had."""
        self.images += images
        self.speeds.append(images / self._seconds)


def decode(images: Sequence[bytes], clock: Clock) -> None:
    """A round of OpenCV alone, on this core."""
    with clock:
        for image in images:
            cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    clock.count(len(images))


def load(loader: TrainLoader, epoch: int, clock: Clock) -> None:
    """A round of the loader: a whole epoch, the filling of its queue included."""
    count = 0
    with clock:
        for batch in loader.batches(epoch):
            count += len(batch)
    clock.count(count)


def close(loader: TrainLoader, clock: Clock) -> None:
    """End the workers and count what they computed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    loader.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock.cpu_seconds += after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure_loading(options: argparse.Namespace) -> dict[str, Any]:
    """Speeds and ratios of each format."""
    count = options.images
    if options.data is None:
        different = list(rendered(min(DIFFERENT, count), options.quality))
    else:
        different = recorded(options.data, count)
    # Each in memory of its own, as images from a disk are.
    images = [bytes(bytearray(different[row % len(different)])) for row in range(count)]
    with tempfile.TemporaryDirectory(dir=options.temporary) as name:
        write_sets(Path(name), images)
        loaders = {}
        for format_, (dataset, shuffle) in open_sets(Path(name)).items():
            sampler = EpochSampler(len(dataset), batch_size=options.batch, shuffle=shuffle)
            loaders[format_] = TrainLoader(dataset, sampler, num_workers=options.workers)
            loaders[format_].start()
        alone, clocks = Clock(), {format_: Clock() for format_ in loaders}
        decode(images, alone)
        with progress_bar(options.rounds, "rounds") as bar:
            for round_ in range(options.rounds):
                for format_, loader in loaders.items():
                    load(loader, round_, clocks[format_])
                    decode(images, alone)
                bar.update()
        for format_, loader in loaders.items():
            close(loader, clocks[format_])
    available = cores()
    return {
        "images": count,
        "bytes_per_image": round(sum(map(len, images)) / count),
        "cores": available,
        "workers": options.workers,
        "batch": options.batch,
        "rounds": options.rounds,
        "imdecode_images_per_second": round(statistics.median(alone.speeds)),
        "formats": {
            format_: compared(clock, alone, place, available)
            for place, (format_, clock) in enumerate(clocks.items())
        },
    }


def compared(clock: Clock, alone: Clock, place: int, cores: int) -> dict[str, float]:
    """A format's figures; its round r follows round `place` + r x formats of the decoder alone."""
    formats = (len(alone.speeds) - 1) // len(clock.speeds)
    around = [
        statistics.mean(alone.speeds[place + number * formats :][:2])
        for number in range(len(clock.speeds))
    ]
    ratios = [speed / (cores * each) for speed, each in zip(clock.speeds, around, strict=True)]
    work, least = clock.cpu_seconds / clock.images, alone.cpu_seconds / alone.images
    return {
        "images_per_second": round(statistics.median(clock.speeds)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_best": round(max(clock.speeds) / (cores * max(alone.speeds)), 3),
        "ratio_by_cpu_time": round(least / work, 3),
    }


def show_loading(report: dict[str, Any]) -> None:
    """Print the table."""
    print(
        f"{report['images']} images of {report['bytes_per_image']} bytes, {report['cores']} cores, "
        f"{report['workers']} workers, batches of {report['batch']}, {report['rounds']} rounds\n"
        f"cv2.imdecode alone on one core: {report['imdecode_images_per_second']} images/s\n"
    )
    print(f"{'':24}{'images/s':>10}   ratio: {'wall':>6}{'best':>8}{'CPU time':>11}")
    for name, row in report["formats"].items():
        print(
            f"{name:24}{row['images_per_second']:10d}{'':10}{row['ratio']:6.2f}"
            f"{row['ratio_of_best']:8.2f}{row['ratio_by_cpu_time']:11.2f}"
        )
    print(f"\nratio = images/s / ({report['cores']} cores x cv2.imdecode alone)")


def show_index(report: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{report['images']} images\n")
    print(f"{'':12}{'opens in':>10}{'peak':>9}{'shuffles in':>13}{'peak then':>11}")
    for name, row in report["formats"].items():
        print(
            f"{name:12}{row['open_seconds']:8.1f} s{row['open_gigabytes']:6.2f} GB"
            f"{row['shuffle_seconds']:11.1f} s{row['shuffle_gigabytes']:8.2f} GB"
        )


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    numbers = {
        "images": (16384, "images of an epoch; fewer different ones are repeated"),
        "batch": (128, "images of a batch"),
        "workers": (cores(), "processes of the loader; 0 for none but this one"),
        "rounds": (9, "times that everything is measured, in turn"),
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
    """Run the command; return the exit status."""
    options = build_parser().parse_args()

    def work() -> None:
        for name, least in (("images", 1), ("batch", 1), ("rounds", 1), ("workers", 0)):
            if getattr(options, name) < least:
                raise UserError(f"--{name} must be at least {least}, got {getattr(options, name)}")
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
    sys.exit(main())
