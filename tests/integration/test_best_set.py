"""`Metric.best_set`: best_model by one of several verification sets, also across a resume."""

import json
import pickle

import pytest


@pytest.fixture
def run(run, tiny_faces, tmp_path):
    """The small training, with a second verification set `own`."""
    images = [(tiny_faces / f"{number}.png").read_bytes() for number in range(20)]
    pairs = [(i, i + 5) if i % 2 else (i, i + 6) for i in range(12)]
    content = [images[i] for pair in pairs for i in pair], [bool(i % 2) for i in range(12)]
    (tmp_path / "own.bin").write_bytes(pickle.dumps(content))
    data = run.config["DataLoader"]["Eval"]
    own = {"name": "FaceVerificationBin", "bin_path": str(tmp_path / "own.bin")}
    data["dataset"] = [data["dataset"], own]
    run.config["Global"] |= {"eval_during_train": True, "epochs": 2}
    return run


def best_of(folder):
    state = json.loads((folder / "best_model" / "state.json").read_text())
    return state["step"], state["best_metric"]


def test_best_by_a_set_and_by_the_mean_after_a_resume(run, read_metrics):
    run("train", "Metric.best_set=own")
    entries = [entry for entry in read_metrics(run.output, "eval") if entry["set"] == "own"]
    metrics = {entry["metric"]: entry["step"] for entry in reversed(entries)}  # the first of equals
    assert best_of(run.output) == (metrics[max(metrics)], max(metrics))
    assert "best_set: own" in (run.output / "config.yaml").read_text()

    state = run.output / "latest" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"best_metric": 2.0}))
    before = best_of(run.output)
    latest = f"Global.checkpoint={state.parent.resolve()}"
    run("train", latest, "Metric.best_set=own", "Global.epochs=3")
    assert best_of(run.output) == before  # nothing is above 2

    run("train", latest, "Global.epochs=3")  # the best accuracy of `own` says nothing about a mean
    last = [entry["metric"] for entry in read_metrics(run.output, "eval")][-2:]
    assert best_of(run.output) == (33, pytest.approx(sum(last) / 2, abs=1e-15))


def test_an_unknown_set_ends_the_run_before_it_begins(run):
    done = run("train", "Metric.best_set=onw", check=False)
    assert done.returncode == 2 and not run.output.exists()
    assert done.stderr.strip().splitlines()[-1] == (
        "plsc-train: error: Metric.best_set: no verification set is called 'onw'; "
        "did you mean 'own'?"
    )
