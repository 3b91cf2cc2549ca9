"""Seconds, memory and bytes of a training step of the head, beside PyTorch and other class counts.

    python tools/benchmark/head.py --classes 1000000 --rows 100000 --batch 128
    python tools/benchmark/head.py --classes 200000 2000000 --rows 20000
    python tools/benchmark/head.py --classes 1000000 --peer --torch-python PATH

One JSON line. It times PLSC's own training step (a backbone of one layer, clipping and update
included) on random identities. What is compared runs in turns, a step each. GB are 10^9 bytes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from plsc.errors import UserError
from plsc.nn.environment import cores

HERE = Path(__file__).resolve().parent
Run = tuple[list[str], dict[str, Any]]  # command, settings


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument(
        "--classes", type=int, nargs="+", default=[1_000_000], help="several are compared"
    )
    made.add_argument("--rows", type=int, default=100_000, help="classes in a step, of all ranks")
    made.add_argument("--batch", type=int, default=128, help="samples of a rank")
    made.add_argument("--dim", type=int, default=512)
    made.add_argument("--storage", choices=("device", "host", "file"), default="device")
    made.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    made.add_argument("--folder", help="for files and reports; a temporary one if not given")
    made.add_argument("--optimizer", choices=("Momentum", "AdamW"), default="Momentum")
    made.add_argument("--lr", type=float, help="0.1 for Momentum, 0.001 for AdamW")
    made.add_argument("--ranks", type=int, default=1, help="gloo processes on this machine")
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--peer",
        nargs="?",
        choices=("dense", "sampled"),
        const="dense",
        help="also arcface_torch's algorithm in PyTorch: its second version, or its first",
    )
    made.add_argument("--torch-python", default=sys.executable, help="python that has torch")
    return made


def main() -> None:
    """Measure, and print one line."""
    options = parser().parse_args()
    try:
        check(options)
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="plsc-head-") as folder:
            report = compare(options, Path(folder))
    except UserError as error:
        sys.exit(f"head: {error}")
    print(json.dumps(report))


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be measured."""
    for name in ("rows", "batch", "dim", "ranks", "steps"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} must be at least 1, got {getattr(options, name)}")
    for classes in options.classes:
        if classes < options.rows:
            raise UserError(f"--rows {options.rows} are more than --classes {classes}")
    if options.ranks > 1 and (options.peer or len(options.classes) > 1):
        raise UserError(f"--ranks {options.ranks} is measured alone: one class count, no --peer")


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all that the options name, in turns; the report of each and their ratios."""
    own = [str(HERE / "head_steps.py")]
    runs = [(own, {"classes": classes}) for classes in options.classes]
    if options.peer:
        peer = [str(HERE / "peer_head.py")]
        runs += [(peer, {"classes": classes, "form": options.peer}) for classes in options.classes]
    reports = take_turns(options, runs, folder)
    ours, peers = reports[: len(options.classes)], reports[len(options.classes) :]
    for report, other in zip(ours, peers, strict=False):
        report["peer"] = other
        report["times_faster_than_peer"] = ratio(other, report)
    names = ("batch", "dim", "storage", "dtype", "optimizer", "ranks", "steps")
    shared = {name: getattr(options, name) for name in names} | {"cores": cores()}
    if len(ours) == 1:
        return {**shared, **ours[0]}
    against_first = [ratio(report, ours[0]) for report in ours[1:]]
    return {**shared, "runs": ours, "cost_against_first": against_first}


def ratio(report: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """Seconds of a step of one over those of the other."""
    mine, its = report["seconds"]["total"], other["seconds"]["total"]
    return {name: round(mine[name] / its[name], 3) for name in mine}


def take_turns(
    options: argparse.Namespace, runs: Sequence[Run], folder: Path
) -> list[dict[str, Any]]:
    """Start a process (or --ranks of them) for each run; their reports.

    Raises:
        UserError: one of them failed.

    """
    turns = folder / "turns"
    turns.write_text("0")
    lr = options.lr or (0.1 if options.optimizer == "Momentum" else 0.001)
    started: list[subprocess.Popen] = []
    reports = [folder / f"report-{number}.json" for number in range(len(runs))]
    try:
        for number, (script, settings) in enumerate(runs):
            place = {"turns": str(turns), "number": number, "processes": len(runs)}
            files = {"report": str(reports[number]), "folder": str(folder)}
            names = ("rows", "batch", "dim", "storage", "dtype", "optimizer", "steps", "seed")
            given = {name: getattr(options, name) for name in names}
            text = json.dumps({**given, "lr": lr, **settings, **place, **files})
            python = options.torch_python if "form" in settings else sys.executable
            with open(folder / f"said-{number}", "w") as said:
                command = [python, *launcher(options.ranks, folder), *script, text]
                started.append(subprocess.Popen(command, stdout=said, stderr=said))
        while any(process.poll() is None for process in started):
            if any(process.poll() for process in started):
                break  # the others would wait for its turn for ever
            time.sleep(0.05)
        codes = [process.poll() for process in started]
    finally:
        for process in started:
            process.terminate()
            process.wait()
    for number, code in enumerate(codes):
        if code or (code == 0 and not reports[number].exists()):
            logs = [folder / f"said-{number}", *sorted((folder / "log").glob("workerlog.*"))]
            said = "".join(path.read_text(errors="replace") for path in logs)
            *before, reason = [line for line in said.splitlines() if line.strip()] or ["no word"]
            print("\n".join(before), file=sys.stderr)
            raise UserError(f"a measurement failed: {reason.removeprefix('head: ')}")
    return [json.loads(report.read_text()) for report in reports]


def launcher(ranks: int, folder: Path) -> list[str]:
    """Return what goes before the script for that many ranks."""
    if ranks == 1:
        return []
    module = ["-m", "paddle.distributed.launch"]
    return [*module, f"--nproc_per_node={ranks}", f"--log_dir={folder / 'log'}"]


if __name__ == "__main__":
    main()
