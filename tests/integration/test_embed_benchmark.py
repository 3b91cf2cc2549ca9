"""tools/benchmark/embed.py measures what it says, on few images."""

import json
from functools import partial

from commands import python
from places import ROOT

run = partial(python, ROOT / "tools" / "benchmark" / "embed.py")


def test_one_line_compares_the_ways_to_embed():
    done = run("--backbone", "QuickFace_nano", "--images", "8", "--batch", "3", "--rounds", "1")
    report = json.loads(done.stdout)
    speeds = report["images_per_second"]
    assert list(speeds) == ["onnxruntime", "embedder", "evaluator", "paddle"]
    assert min(speeds.values()) > 0
    assert report["evaluator_runs"] == "onnxruntime"
    for name in ("embedder", "evaluator"):
        ratio = speeds[name] / speeds["onnxruntime"]
        assert abs(report[f"{name}_to_onnxruntime"] - ratio) < 0.01 * ratio + 0.001
    assert report["export_seconds"] > 0


def test_too_few_images_are_refused():
    done = run("--images", "6", status=2)
    assert "must be even and at least 8" in done.stderr
