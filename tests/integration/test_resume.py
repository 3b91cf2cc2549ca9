"""Exact resume, on the same and on other numbers of ranks, through plsc-train."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from checkpoints import assert_equal, tensors_of

STATISTICS = ("_mean", "_variance")


@pytest.mark.parametrize("size", [1, 2])
def test_resume_in_mid_epoch_is_exact(run, size, monkeypatch):
    """Shuffle, flips and a scheduled sampling on; stopped in the second epoch; losses equal."""
    run.config["Model"]["pfc_config"] |= {
        "sample_ratio": [[0, 0.5], [0.6, 1.0]],
        "interclass_filtering_threshold": 0.2,
    }
    if size == 1:  # however many files of tests run side by side
        monkeypatch.setenv("PLSC_NUM_THREADS", "2")
    step = "Global.save_unit=step", "Global.save_interval=4"
    run("train", *step, size=size)
    straight = run.losses()
    last = run.output / f"epoch_{run.config['Global']['epochs']}"
    kept = last.rename(run.folder / "straight")
    stop = {1: 15, 2: 9}[size]  # between two of the saves that a straight run makes

    run("train", *step, f"Global.max_train_step={stop}", size=size)
    state = run.state()
    assert state["step"] == stop and state["epoch"] == 1 and state["consumed"] > 0
    done = run("train", *step, f"Global.checkpoint={run.output / 'latest'}", size=size)
    assert done.stdout.count("sample_ratio 0.5 -> 1 at step ") == 1
    assert run.losses() == straight
    assert_equal(tensors_of(run.output / "latest"), tensors_of(kept))


def test_killed_at_any_moment_then_resumed_is_exact(run):
    """SIGKILL again and again, while saving too: what is left resumes to the same losses."""
    every = "Global.save_unit=step", "Global.save_interval=1"
    run("train", *every)
    straight = run.losses()
    run.output.rename(run.folder / "straight")

    seen: dict[int, float] = {}
    kills = 0
    for attempt in range(60):
        latest = run.output / "latest"
        resume = [f"Global.checkpoint={latest}"] if latest.exists() else []
        command = [sys.executable, *run.arguments("train", *every, *resume)]
        process = subprocess.Popen(command, cwd=run.folder, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:  # killed a random moment after its third step
            if "[Iter:" in line and kills < 4:
                time.sleep(0.013 * (attempt + 1))
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        process.stdout.close()
        status = process.wait()
        seen.update(run.losses())
        if status == 0:
            break
    assert status == 0 and kills == 4
    assert seen == straight
    straight = run.folder / "straight" / "latest"
    assert_equal(tensors_of(run.output / "latest"), tensors_of(straight))
    assert not [p for p in run.output.iterdir() if p.name.endswith(".partial") and p.is_dir()]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_resume_on_another_number_of_ranks(run, before, after):
    """Weights and momentum are re-sliced; the epoch's order goes on where it stopped."""
    # 40 classes of which 5 have images: most rows are not sampled in the step after the resume.
    run.config["Model"] |= {"class_num": 40, "pfc_config": {"sample_ratio": 0.2}}
    batch = f"DataLoader.Train.sampler.batch_size={12 // before}"
    run("train", batch, "Global.max_train_step=3", size=before)
    saved = run.output / "step_3"
    state = run.state("step_3")
    assert (state["epoch"], state["consumed"]) == (1, 12)
    before_arrays = tensors_of(saved)

    checkpoint = f"Global.checkpoint={saved}"
    stop = "Global.max_train_step=4", "LRScheduler.learning_rate=0"
    batch = f"DataLoader.Train.sampler.batch_size={12 // after}"
    run("train", batch, checkpoint, *stop, "Optimizer.weight_decay=0", size=after)
    arrays = tensors_of(run.output / "latest")
    assert len(list((run.output / "latest").glob("head-*"))) == after
    # lr 0: every weight must be what it was, in the right place; sampled rows' momentum moved on.
    for name in before_arrays:
        if not name.startswith(("velocity/", "head velocity")) and not name.endswith(STATISTICS):
            np.testing.assert_array_equal(arrays[name], before_arrays[name], err_msg=name)
    old, new = before_arrays["head velocity"], arrays["head velocity"]
    untouched = (old == new).all(axis=1)
    assert untouched.sum() >= 40 - 5 - 8 and old[untouched].any()
    assert not untouched[:5].any()
    state = run.state()
    assert (state["step"], state["epoch"], state["consumed"]) == (4, 1, 24)


def test_schedule_goes_on_at_the_same_fraction_with_another_global_batch(run):
    """22 images: 11 steps of 2; after 4 of them 3 epochs are 8/22/3 done; then 4 images a step."""
    run("train", "Global.max_train_step=4")
    run("train", f"Global.checkpoint={run.output / 'latest'}", "Global.max_train_step=5", size=2)
    entry = json.loads((run.output / "metrics.jsonl").read_text().splitlines()[-1])
    time_now, total = 8 / 4, 3 * 6  # in steps of 4 images; an epoch has ceil(22 / 4)
    assert entry["step"] == 5
    assert entry["lr"] == pytest.approx(0.05 * (1 - time_now / total) ** 2, rel=1e-12)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(run, number):
    """A signal ends the run after the step in hand, with a checkpoint of that step."""
    command = [sys.executable, *run.arguments("train", "Global.epochs=1000")]
    process = subprocess.Popen(command, cwd=run.folder, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "[Iter:" in line:
            process.send_signal(number)
            break
    rest = process.stdout.read()
    assert process.wait(60) == 0 and "saving and stopping" in rest
    assert run.state()["step"] == max(run.losses())
