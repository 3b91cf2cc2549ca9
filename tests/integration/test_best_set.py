"""`Metric.best_set`: best_model by one of several verification sets, also across a resume."""

import json

import pytest
from small_runs import write_own_bin

from plsc.checkpoint.checksums import changed


@pytest.fixture
def run(run, tiny_faces, tmp_path):
    """The small training, with a second verification set `own`."""
    own = write_own_bin(tiny_faces, tmp_path / "own.bin")
    data = run.config["DataLoader"]["Eval"]
    data["dataset"] = [data["dataset"], {"name": "FaceVerificationBin", "bin_path": str(own)}]
    run.config["Global"] |= {"eval_during_train": True, "epochs": 2}
    return run


def best_of(run):
    state = run.state("best_model")
    return state["step"], state["best_metric"]


def test_best_by_a_set_and_by_the_mean_after_a_resume(run, read_metrics):
    run("train", "Metric.best_set=own")
    entries = [entry for entry in read_metrics(run.output, "eval") if entry["set"] == "own"]
    metrics = {entry["metric"]: entry["step"] for entry in reversed(entries)}  # the first of equals
    assert best_of(run) == (metrics[max(metrics)], max(metrics))
    assert "best_set: own" in (run.output / "config.yaml").read_text()

    state = run.output / "latest" / "state.json"
    state.write_text(changed(json.loads(state.read_text()), {"best_metric": 2.0}))
    before = best_of(run)
    latest = f"Global.checkpoint={state.parent.resolve()}"
    run("train", latest, "Metric.best_set=own", "Global.epochs=3")
    assert best_of(run) == before  # nothing is above 2

    run("train", latest, "Global.epochs=3")  # the best accuracy of `own` says nothing about a mean
    last = [entry["metric"] for entry in read_metrics(run.output, "eval")][-2:]
    assert best_of(run) == (33, pytest.approx(sum(last) / 2, abs=1e-15))


def test_an_unknown_set_ends_the_run_before_it_begins(run):
    line = run.refused("train", "Metric.best_set=onw")
    assert line.startswith("Metric.best_set") and "'own'" in line and not run.output.exists()
