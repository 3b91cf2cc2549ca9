"""The benchmark of IJB at a thousandth of the size: what it compares is equal."""

import json
import subprocess
import sys

import pytest
from places import ROOT

SCRIPT = ROOT / "tools" / "benchmark" / "ijb.py"


@pytest.mark.parametrize("pairs", ["all", "gallery"])
def test_plain_numpy_gives_the_same(tmp_path, pairs):
    options = ["--scale", "0.001", "--dim", "32", "--pairs", pairs, "--plain", "--json"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--temporary", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert (report["faces"], report["pairs"]) == (469, 15658)
    assert set(report["parts"]) == {"reading the lists", "pooling", "scoring", "table"}
    assert all(part["peak_gigabytes"] > 0.01 for part in report["parts"].values())
    assert report["plain"]["largest_score_difference"] < 1e-5
    assert report["plain"]["tpr_at_fpr"] == pytest.approx(report["tpr_at_fpr"])
    assert not list(tmp_path.iterdir())
