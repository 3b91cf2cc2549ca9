"""The benchmark of checkpoints runs and leaves nothing; no speed is expected of it."""

import json
from functools import partial

import pytest
from commands import python
from places import ROOT

run = partial(python, ROOT / "tools" / "benchmark" / "checkpoint.py")


@pytest.mark.parametrize("kind", [("device", "float32"), ("file", "bfloat16")])
def test_one_line_and_no_files(tmp_path, kind):
    storage, dtype = kind
    done = run(
        *("--classes", "3000", "--dim", "8", "--passes", "1", "--folder", str(tmp_path)),
        *("--storage", storage, "--dtype", dtype),
    )
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert (report["classes"], report["storage"], report["dtype"]) == (3000, storage, dtype)
    assert report["gigabytes"] == pytest.approx(
        3000 * 8 * 2 * (4 if dtype == "float32" else 2) / 1e9, abs=1e-3
    )
    taken = {"dd_write", "dd_read", "save", "restore", "save_unchanged"}
    assert report["seconds"].keys() == taken and report["linked"] is True
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line():
    done = run("--classes", "0", status=None)
    assert done.returncode and done.stderr.splitlines()[-1].startswith("checkpoint: --classes must")
