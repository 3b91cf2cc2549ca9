"""tools/benchmark/loader.py measures what it says, on sets made small."""

import json
from functools import partial

import pytest
from commands import python
from places import ROOT

run = partial(python, ROOT / "tools" / "benchmark" / "loader.py")


def test_every_format_is_compared_with_the_decoder_alone(tmp_path):
    options = ["--images", "200", "--batch", "16", "--rounds", "2", "--temporary", str(tmp_path)]
    report = json.loads(run(*options, "--json").stdout)
    assert (report["images"], report["batch"], report["rounds"]) == (200, 16, 2)
    assert 3000 < report["bytes_per_image"] < 10000
    assert set(report["formats"]) == {
        "record file",
        "record file, in order",
        "list of files",
        "folder per identity",
    }
    for row in report["formats"].values():
        assert row["images_per_second"] > 0
        # Nothing decodes faster than the decoder: half as much again is noise, more a mistake.
        assert 0 < row["ratio"] < 1.5 and 0 < row["ratio_by_cpu_time"] < 1.5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("images", [20, 50_001])
def test_an_index_opens_with_all_its_images(tmp_path, images):
    done = run("--index", str(images), "--temporary", str(tmp_path), "--json")
    report = json.loads(done.stdout)
    assert report["images"] == images and set(report["formats"]) == {"rec", "list", "magface"}
    for row in report["formats"].values():
        assert 0 <= row["open_seconds"] < 10 and 0 <= row["shuffle_seconds"] < 10
        assert 0.01 < row["open_gigabytes"] <= row["shuffle_gigabytes"] < 1
    assert list(tmp_path.iterdir()) == []


def test_help_teaches_and_mistakes_are_named():
    assert "--index 42500000" in run("--help").stdout
    done = run("--images", "0", status=2)
    assert done.stderr == ("loader.py: error: --images must be at least 1, got 0\n")
