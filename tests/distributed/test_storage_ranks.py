"""Two ranks with class centres in files of their own against one with all of them in memory."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("storage_run.py")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("storage_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ranks(module_worlds):
    """(arrays, what a full disk is told as) of each rank."""
    worlds = module_worlds()
    worlds.run(2, SCRIPT, worlds.folder / "rows", worlds.folder / "out")
    assert list((worlds.folder / "rows").iterdir()) == []
    return [
        (
            dict(np.load(worlds.folder / f"out.{rank}.npz")),
            (worlds.folder / f"out.{rank}.txt").read_text(),
        )
        for rank in range(2)
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_classes_on_two_ranks_equal_one(dtype, ranks, script, tmp_path):
    one = script.train(script.centres_of(tmp_path, "host", "float32"), ratio=1.0, prefetch=False)
    assert np.ptp(one["losses"]) > 0.01
    losses = [arrays[f"{dtype}/1.0/False/losses"] for arrays, _ in ranks]
    np.testing.assert_array_equal(*losses)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(losses[0], one["losses"], rtol=tolerance)
    for name in ("weight", "velocity"):
        found = np.concatenate([arrays[f"{dtype}/1.0/False/{name}"] for arrays, _ in ranks])
        if dtype == "bfloat16":
            found = (found.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_allclose(
            found, one[name], rtol=0, atol=2 * tolerance * np.abs(one[name]).max()
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("ratio", [0.1, 0.4, 1.0])
def test_reading_ahead_changes_nothing(dtype, ratio, ranks):
    for arrays, _ in ranks:
        for name in ("losses", "weight", "velocity"):
            plain, ahead = (arrays[f"{dtype}/{ratio}/{way}/{name}"] for way in (False, True))
            np.testing.assert_array_equal(ahead, plain)


def test_ranks_draw_rows_of_their_own(ranks):
    """In blocks of 64, that is 1 of 8 in each of 5 steps, and classes of the batch."""
    drawn = [(arrays["float32/0.1/True/velocity"] != 0).any(axis=1) for arrays, _ in ranks]
    assert all(0.2 < rows.mean() < 0.8 for rows in drawn)
    assert (drawn[0][:500] != drawn[1][:500]).mean() > 0.2


def test_the_ranks_of_a_host_share_its_disk(ranks):
    messages = {message for _, message in ranks}
    assert len(messages) == 1
    assert "0.0 GB free" in messages.pop()
