"""tools/benchmark/head.py measures the head's real steps; its counts follow the formulas."""

import json

import pytest
from commands import python
from places import ROOT

TOOL = ROOT / "tools" / "benchmark" / "head.py"
ROWS, BATCH, DIM, BLOCK = 100, 8, 32, 64


def run(folder, *options):
    sizes = ["--rows", str(ROWS), "--batch", str(BATCH), "--dim", str(DIM), "--steps", "3"]
    return python(TOOL, *sizes, "--folder", folder, *options, status=None)


def report_of(folder, *options):
    done = run(folder, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(folder.iterdir()) == []
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_the_parts_of_a_step_are_all_of_it_and_class_counts_are_compared(tmp_path):
    report = report_of(tmp_path, "--classes", "1000", "3000")
    assert [one["classes"] for one in report["runs"]] == [1000, 3000]
    small, large = (one["seconds"]["total"] for one in report["runs"])
    (ratio,) = report["cost_against_first"]
    assert ratio["min"] == pytest.approx(large["min"] / small["min"], rel=0.2)
    for one in report["runs"]:
        parts = dict(one["seconds"])
        total, cpu = parts.pop("total"), parts.pop("cpu")
        assert list(parts) == [
            *("sampling", "take", "forward", "backward", "norm", "update", "put", "other")
        ]
        assert all(0 <= part["min"] <= part["median"] for part in (*parts.values(), total, cpu))
        assert sum(part["min"] for part in parts.values()) <= total["min"] + 0.001  # rounded
        # Nothing that takes time escapes the named parts: they are wrapped where they are called.
        assert min(parts[name]["median"] for name in ("sampling", "take", "forward")) > 0
        assert one["loss_last"] < one["loss_first"]
        assert one["bytes_taken"] == one["bytes_put"] == 2 * ROWS * DIM * 4
        assert one["bytes_exchanged"] == 0
        assert 0.1 < one["resident_gb"] <= one["peak_gb"] < 5


def test_ranks_share_the_rows_and_exchange_what_the_head_says(tmp_path):
    report = report_of(tmp_path, "--classes", "1000", "--ranks", "2")
    samples = 2 * BATCH
    features = gradients = samples * DIM * 4
    reductions, labels, norm = 3 * samples * 4, samples * 8, 4
    assert report["bytes_exchanged"] == features + gradients + reductions + labels + norm
    assert report["bytes_taken"] == report["bytes_put"] == 2 * (ROWS // 2) * DIM * 4


def test_half_precision_in_files(tmp_path):
    options = ["--storage", "file", "--dtype", "bfloat16", "--optimizer", "AdamW"]
    report = report_of(tmp_path, "--classes", "1000", *options)
    row = 3 * DIM * 2  # bytes; blocks of neighbours are read, those of the next step ahead
    assert (ROWS - BLOCK) * row < report["bytes_put"] < (ROWS + 2 * BLOCK) * row
    assert report["bytes_taken"] >= (ROWS - BLOCK) * row


def test_mistakes_are_one_line_and_a_failing_peer_ends_the_measurement(tmp_path):
    done = run(tmp_path, "--classes", "50")
    assert (done.returncode, done.stderr) == (1, "head: --rows 100 are more than --classes 50\n")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no torch here >&2\nexit 3\n")
    python.chmod(0o755)
    done = run(tmp_path, "--classes", "200", "--peer", "--torch-python", str(python))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == "head: a measurement failed: no torch here"
