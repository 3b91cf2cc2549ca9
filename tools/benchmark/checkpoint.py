"""Saving and restoring a head at the speed of the disk: beside dd, in turns, in the same folder.

    python tools/benchmark/checkpoint.py --classes 1000000
    python tools/benchmark/checkpoint.py --classes 1000000 --dtype bfloat16 --storage file

One JSON line. The head has `weight` and the `velocity` of Momentum. Files end on the disk (fsync)
and are read from it (the system is asked to forget them before); all are deleted. Of --passes,
the fastest counts. GB are 10^9 bytes; memory is what is resident beyond the head itself.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from turns import forget_peak, held

from plsc.errors import UserError
from plsc.nn import environment as runtime

STATE = {
    **{"run": "benchmark", "step": 0, "epoch": 0, "consumed": 0, "best_metric": None},
    **{"num_images": 0, "global_batch": 1, "scaler": {}},
}
BLOCK = 2**26  # bytes at a time for dd
FILLED = 65_536  # classes at a time


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--classes", type=int, default=1_000_000)
    made.add_argument("--dim", type=int, default=512)
    made.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    made.add_argument("--storage", choices=("device", "host", "file"), default="device")
    made.add_argument("--folder", help="on the disk in question; a temporary one if not given")
    made.add_argument("--passes", type=int, default=3)
    return made


def main() -> None:
    """Measure, and print one line."""
    options = parser().parse_args()
    try:
        for name in ("classes", "dim", "passes"):
            if getattr(options, name) < 1:
                raise UserError(f"--{name} must be at least 1, got {getattr(options, name)}")
        runtime.prepare(local_size=1)
        runtime.import_paddle()
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="plsc-checkpoint-") as folder:
            report = measure(options, Path(folder))
    except UserError as error:
        sys.exit(f"checkpoint: {error}")
    print(json.dumps(report))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of dd, of saving, of restoring and of saving again with nothing changed."""
    import paddle

    from plsc.checkpoint import folder as checkpoint
    from plsc.checkpoint.folder import Checkpoint
    from plsc.checkpoint.sharded_files import Unchanged
    from plsc.checkpoint.sharded_rows import fill, rows_of
    from plsc.distributed.sharding import RowShard
    from plsc.recognition.heads.storage import build_centres

    paddle.set_device("cpu")
    settings = {"storage": options.storage, "dtype": options.dtype, "folder": folder, "seed": 0}
    shard = RowShard(options.classes)
    centres = build_centres(shard, options.dim, state_names=("velocity",), **settings)
    for start in range(0, options.classes, FILLED):  # zeros that nobody has written take no memory
        stop = min(start + FILLED, options.classes)
        centres.write("velocity", centres.read("weight", start, stop), start)
    kept = {name: centres.read(name, 0, FILLED) for name in centres.names}

    def save(unchanged: Unchanged | None = None) -> Path:
        return checkpoint.save(
            folder,
            "again" if unchanged else "saved",
            network={},
            optimizer={},
            sharded={"head": rows_of(centres)},
            state={**STATE, "num_classes": options.classes},
            unchanged=unchanged and {"head": unchanged},
        )

    def restore() -> None:
        head = Checkpoint(folder / "saved").rows("head", "num_classes")
        pieces = {
            name: head.pieces(name, 0, options.classes, dtype=options.dtype)
            for name in centres.names
        }
        fill(centres, pieces, purpose="restored")

    size = options.classes * options.dim * centres.read("weight", 0, 1).itemsize * 2
    plain, taken, memory = folder / "dd", dict[str, float](), dict[str, float]()
    write = ["dd", "if=/dev/zero", f"of={plain}", f"count={size}", "conv=fsync"]
    read = ["dd", f"if={plain}", "of=/dev/null"]
    for _ in range(options.passes):
        timed(taken, memory, "dd_write", lambda: dd(write))
        forget(plain)
        timed(taken, memory, "dd_read", lambda: dd(read))
        plain.unlink()
        timed(taken, memory, "save", save)
        for path in (folder / "saved").iterdir():
            forget(path)
        timed(taken, memory, "restore", restore)
        shutil.rmtree(folder / "saved")
    for name, rows in kept.items():
        if not np.array_equal(rows, centres.read(name, 0, FILLED)):
            raise UserError(f"{name} is not what it was")
    save()
    centres.mark_saved()
    unchanged = Unchanged(folder / "saved", centres.changed, centres.zone)
    timed(taken, memory, "save_unchanged", lambda: save(unchanged))
    linked = all(path.stat().st_nlink == 2 for path in (folder / "again").glob("head-*"))
    return {
        **{name: getattr(options, name) for name in ("classes", "dim", "dtype", "storage")},
        "gigabytes": round(size / 1e9, 3),
        "seconds": {name: round(seconds, 3) for name, seconds in taken.items()},
        "megabytes_per_second": {
            name: round(size / 1e6 / seconds)
            for name, seconds in taken.items()
            if name != "save_unchanged"
        },
        "extra_gigabytes": {name: round(memory[name], 3) for name in ("save", "restore")},
        "linked": linked,
    }


def timed(
    taken: dict[str, float], memory: dict[str, float], name: str, action: Callable[[], Any]
) -> None:
    """Seconds of the fastest call under `name`, and the most memory of any, in GB."""
    forget_peak()
    before, began = held("VmHWM"), time.perf_counter()
    action()
    spent = time.perf_counter() - began
    taken[name] = min(spent, taken.get(name, spent))
    memory[name] = max((held("VmHWM") - before) / 1e9, memory.get(name, 0.0))


def dd(command: list[str]) -> None:
    """Run it with `count` in bytes."""
    flags = ["iflag=count_bytes"] if any(word.startswith("count=") for word in command) else []
    subprocess.run([*command, *flags, f"bs={BLOCK}"], check=True, capture_output=True)


def forget(path: Path) -> None:
    """Have the system drop what it holds of the file in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
