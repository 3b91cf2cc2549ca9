"""Which exports carry the thresholds that were stored with a checkpoint."""

import shutil

import onnx
import pytest


@pytest.mark.parametrize(("mirrored", "kept"), [(True, "none"), (False, "none nhwc")])
def test_thresholds_go_along_where_they_hold(run, small_checkpoint, tiny_faces, mirrored, kept):
    latest = shutil.copytree(small_checkpoint, run.folder / "latest")
    options = ["--model", latest, "--pairs", tiny_faces / "pairs.txt", "--store_thresholds"]
    run.without_config("eval", *options, *([] if mirrored else ["--no_flip"]))
    for preprocessing in ("none", "nhwc"):
        weights = f"Global.pretrained_model={latest}"
        done = run("export", weights, f"Export.preprocessing={preprocessing}")
        model = onnx.load(run.output.with_name(run.output.name + ".onnx"))
        names = {entry.key for entry in model.metadata_props}
        assert ("thresholds" in names) == (preprocessing in kept.split())
        assert ("thresholds left out" in done.stdout) == (preprocessing not in kept.split())
