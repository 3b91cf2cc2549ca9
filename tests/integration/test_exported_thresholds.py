"""Which exports carry the thresholds that were stored with a checkpoint."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest


@pytest.mark.parametrize(("mirrored", "kept"), [(True, "none"), (False, "none nhwc")])
def test_thresholds_go_along_where_they_hold(run, tiny_faces, mirrored, kept):
    run("train", "Global.max_train_step=1")
    latest = run.output / "latest"
    options = ["--model", latest, "--pairs", tiny_faces / "pairs.txt", "--store_thresholds"]
    options += [] if mirrored else ["--no_flip"]
    command = [Path(sys.executable).with_name("plsc-eval"), *options]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    for preprocessing in ("none", "nhwc"):
        weights = f"Global.pretrained_model={latest}"
        done = run("export", weights, f"Export.preprocessing={preprocessing}")
        model = onnx.load(run.output.with_name(run.output.name + ".onnx"))
        names = {entry.key for entry in model.metadata_props}
        assert ("thresholds" in names) == (preprocessing in kept.split())
        assert ("thresholds left out" in done.stdout) == (preprocessing not in kept.split())
