"""Weak scaling over the ranks of this machine, and what ranks exchange, counted in real processes.

    python tools/benchmark/scaling.py --ranks 1,2 --backbone IResNet18 --batch 8
    python tools/benchmark/scaling.py --simulate 1..8

--ranks trains worlds of so many processes, each with the same batch and the same threads (the
cores of this machine over the largest number of ranks), one world after the other, for some
rounds. Efficiency is the speed over that of as many single ranks; the fastest step of all rounds
counts, because other programs only ever slow a step down. Efficiency by CPU time compares what the
ranks compute for an image; how long they wait for one another does not count in it. Unless
--threads is given, one more row has one rank on all cores.

--simulate trains two steps in each world over gloo with a small backbone, for two numbers of
classes, and counts the bytes that a rank's collectives carry. Nothing is timed.

Each world gives a JSON line, then a table follows.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from worlds import launch  # noqa: E402

from plsc.errors import UserError  # noqa: E402
from plsc.nn import environment as runtime  # noqa: E402
from plsc.recognition.plan.head import step_traffic  # noqa: E402

RANK = Path(__file__).with_name("scaling_rank.py")


def numbers(text: str) -> list[int]:
    """`1..8` or `1,2,4`."""
    first, dots, last = text.partition("..")
    found = range(int(first), int(last) + 1) if dots else map(int, text.split(","))
    ranks = sorted(set(found))
    if not ranks or ranks[0] < 1:
        raise ValueError
    return ranks


def measure(cases: list[dict[str, Any]], ranks: int, threads: int) -> list[dict[str, Any]]:
    """Return what a world says of its cases."""
    return launch(RANK, cases, ranks=ranks, PLSC_NUM_THREADS=str(threads))


def weak_scaling(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of ranks, and one for a single rank on all cores."""
    cores = runtime.cores()
    each = max(1, options.threads or cores // options.ranks[-1])
    worlds = [(ranks, each) for ranks in options.ranks]
    if each < cores and not options.threads:
        worlds.append((1, cores))
    found: dict[tuple[int, int], list[dict[str, Any]]] = {place: [] for place in worlds}
    for _ in range(options.rounds):
        for ranks, threads in worlds:
            found[ranks, threads] += measure([case(options, options.classes)], ranks, threads)
    rows = []
    for (ranks, threads), rounds in found.items():
        images = ranks * options.batch
        steps = [seconds for one in rounds for seconds in one["seconds"]]
        cpu = min(one["cpu_seconds"] / len(one["seconds"]) for one in rounds)
        rows.append(
            {
                "ranks": ranks,
                "threads": threads,
                "images_per_second": round(images / min(steps), 3),
                "images_per_second_median": round(images / statistics.median(steps), 3),
                "cpu_seconds_per_image": round(cpu / images, 4),
            }
        )
    single = next((row for row in rows if row["ranks"] == 1), None)
    for row in rows if single else ():
        ideal = single["images_per_second"] * row["ranks"] * row["threads"] / single["threads"]
        row["efficiency"] = round(row["images_per_second"] / ideal, 3)
        used = single["cpu_seconds_per_image"] / row["cpu_seconds_per_image"]
        row["efficiency_by_cpu_time"] = round(used, 3)
    return rows


def simulate(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of ranks: bytes counted, and what the formula says."""
    rows = []
    classes = [options.classes, 100 * options.classes]
    for ranks in options.simulate:
        few, many = measure([case(options, count) | {"steps": 0} for count in classes], ranks, 1)
        expected = step_traffic(
            samples=ranks * options.batch // options.parts,
            parts=options.parts,
            dim=options.dim,
            parameters=few["parameters"],
            ranks=ranks,
        )
        rows.append(
            {
                "ranks": ranks,
                "calls": sum(few["calls"].values()),
                "gathered": few["bytes"].get("all_gather", 0),
                "reduced": few["bytes"].get("all_reduce", 0),
                "formula": expected.head,
                "classes": classes,
                "bytes_by_classes": [sum(one["bytes"].values()) for one in (few, many)],
                "backbone_gradients": expected.backbone_gradients,
            }
        )
    return rows


def case(options: argparse.Namespace, classes: int) -> dict[str, Any]:
    """Return what scaling_rank.py is told."""
    names = ("backbone", "batch", "dim", "parts", "ratio", "steps", "seed")
    return {name: getattr(options, name) for name in names} | {"classes": classes}


def show(rows: list[dict[str, Any]]) -> None:
    """JSON lines, and a table of the same."""
    for row in rows:
        print(json.dumps(row))
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    print()
    for line in cells:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return f"{value:,}"


def main() -> int:
    """Measure, or count, or both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=numbers, help="time worlds of so many ranks: 1,2")
    parser.add_argument("--simulate", type=numbers, help="count bytes in such worlds: 1..8")
    parser.add_argument("--backbone", help="IResNet18 to time; QuickFace_nano to count")
    parser.add_argument("--batch", type=int, default=8, help="images of a rank and step")
    parser.add_argument("--parts", type=int, default=1, help="micro-batches of a step")
    parser.add_argument("--classes", type=int, default=1000, help="identities of the head")
    parser.add_argument("--ratio", type=float, default=1.0, help="sample ratio of the head")
    parser.add_argument("--dim", type=int, default=512, help="of an embedding")
    parser.add_argument("--steps", type=int, default=6, help="timed steps of a round")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each world")
    parser.add_argument("--threads", type=int, help="of a rank; cores / most ranks by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.ranks or options.simulate):
        parser.error("give --ranks or --simulate, or both")
    given = options.backbone
    try:
        if options.ranks:
            options.backbone = given or "IResNet18"
            show(weak_scaling(options))
        if options.simulate:
            options.backbone = given or "QuickFace_nano"
            show(simulate(options))
    except UserError as error:
        print(f"scaling: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
