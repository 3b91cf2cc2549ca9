"""tools/benchmark/scaling.py in worlds of one and two ranks, made small; no time is judged."""

import json
from functools import partial

from commands import python
from places import ROOT

SMALL = ["--backbone", "QuickFace_nano", "--batch", "2", "--dim", "16", "--classes", "20"]
run = partial(python, ROOT / "tools" / "benchmark" / "scaling.py")


def test_worlds_are_timed_and_their_bytes_counted():
    done = run(*SMALL, "--ranks", "1,2", "--threads", "1", "--steps", "1", "--rounds", "1")
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [(row["ranks"], row["threads"]) for row in rows] == [(1, 1), (2, 1)]
    assert all(row["images_per_second"] > 0 for row in rows)
    single, double = rows
    assert single["efficiency"] == 1
    ratio = double["images_per_second"] / single["images_per_second"]
    assert abs(double["efficiency"] - ratio / 2) < 1e-3
    table = done.stdout.splitlines()[-len(rows) - 1 :]
    assert table[0].split() == list(single) and len(table[1].split()) == len(single)


def test_counted_bytes_are_those_of_the_formula_and_not_of_the_classes():
    done = run(*SMALL, "--simulate", "2")
    row = json.loads(done.stdout.splitlines()[0])
    assert row["ranks"] == 2 and row["classes"] == [20, 2000]
    assert row["bytes_by_classes"] == [row["formula"]] * 2
    assert row["gathered"] + row["reduced"] == row["formula"] == 4 * (8 + 2 * 4 * 16 + 3 * 4) + 4


def test_mistakes_are_one_line():
    assert run("--ranks", "2..x", status=2).stderr.endswith("invalid numbers value: '2..x'\n")
    assert "give --ranks or --simulate" in run(status=None).stderr
