"""The training benchmark runs and says what it measured; no speed is expected of it."""

import json
import statistics
from functools import partial

import pytest
from commands import python
from places import ROOT

run = partial(python, ROOT / "tools" / "benchmark" / "train.py")


def test_prints_medians_and_their_ratio():
    done = run(
        *("--backbone", "QuickFace_nano", "--batch", "4", "--classes", "9"),
        *("--rounds", "2", "--seconds", "0.2"),
    )
    result = json.loads(done.stdout)
    assert (result["batch"], result["classes"]) == (4, 9)
    speeds = result["images_per_second"]
    assert speeds.keys() == {"stock", "plsc"} == result["rounds"].keys()
    for name, found in result["rounds"].items():
        assert len(found) == 2 and statistics.median(found) == pytest.approx(speeds[name])
    assert result["plsc_over_stock"] == pytest.approx(speeds["plsc"] / speeds["stock"], abs=0.006)


def test_a_failure_is_not_taken_for_a_speed():
    done = run("--backbone", "IResNet19", "--rounds", "1", status=None)
    assert done.returncode and not done.stdout and "IResNet18" in done.stderr
    assert done.stderr.splitlines()[-1] == "train.py: error: stock failed, see above"
