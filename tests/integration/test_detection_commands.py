"""Detection by the public commands: trained, resumed to the bit, on two ranks, exported."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from checkpoints import assert_equal, backbone_of
from marked_faces import write_marked_faces
from small_runs import Run, metrics_of

SIZE = 64
TRANSFORMS = [
    {"DecodeImage": {"to_rgb": False}},
    {"RandCropFaces": {"size": SIZE, "scale": [0.5, 1.5]}},
    "RandDistortImage",
    "RandFlipImage",
    {"NormalizeImage": {"scale": 1.0, "mean": [104, 117, 123], "std": [1, 1, 1]}},
    "ToCHWImage",
]


class Faces(Run):
    """Runs commands on a small set of marked faces in a folder."""

    def __init__(self, folder: Path, labels: Path):
        super().__init__(folder, folder)
        self.config = {
            "Global": {
                "task_type": "detection",
                "output_dir": "output",
                "device": "cpu",
                "epochs": 2,
                "print_batch_step": 1,
                "max_num_latest_checkpoint": -1,
            },
            "Model": {"name": "RetinaFace_MobileNet025"},
            "Loss": {"name": "MultiBoxLoss"},
            "LRScheduler": {"name": "MindFaceCosine", "learning_rate": 0.01, "warmup_steps": 3},
            "Optimizer": {
                "name": "Momentum",
                "weight_decay": 5e-4,
                "grad_clip": {"name": "ClipGradByNorm", "clip_norm": 1.0},
            },
            "DataLoader": {
                "Train": {
                    "dataset": {
                        "name": "WiderFaceDataset",
                        "label_path": str(labels),
                        "transform_ops": TRANSFORMS,
                    },
                    "sampler": {"batch_size": 4, "shuffle": True, "drop_last": True},
                }
            },
        }
        self.output = folder / "output" / "RetinaFace_MobileNet025"

    def weights(self, which: str = "latest"):
        return backbone_of(self.output / which)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return write_marked_faces(tmp_path_factory.mktemp("marked"), 16)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, labels):
    run = Faces(tmp_path_factory.mktemp("whole"), labels)
    run("train")
    return run


@pytest.mark.parametrize("stock", ["0", "1"], ids=["tensor by tensor", "one vector"])
def test_a_resumed_run_is_the_same_to_the_bit(whole, tmp_path, labels, monkeypatch, stock):
    monkeypatch.setenv("PLSC_STOCK_CPU", stock)
    if stock == "1":
        folder = tmp_path / "whole"
        folder.mkdir()
        whole = Faces(folder, labels)
        whole("train")
    assert whole.losses()[8] < whole.losses()[1]
    parts = Faces(tmp_path, labels)
    parts("train", "Global.max_train_step=3")
    parts("train", f"Global.checkpoint={parts.output}/latest")
    assert parts.losses() == whole.losses()
    assert_equal(parts.weights(), whole.weights())


def test_two_ranks_and_on_with_one(whole, tmp_path, labels):
    """Of the same images of a step: what differs is that each rank normalises its own batch."""
    two = Faces(tmp_path, labels)
    halved = ["Global.max_train_step=3", "DataLoader.Train.sampler.batch_size=2"]
    two.world.run(2, *two.arguments("train", *halved))
    assert two.losses()[1] == pytest.approx(whole.losses()[1], rel=0.1)
    two("train", f"Global.checkpoint={two.output}/latest")
    assert max(two.losses()) == 8
    assert all(np.isfinite(loss) for loss in two.losses().values())
    first = metrics_of(two.output)[0]
    named = 2 * first["box_loss"] + first["class_loss"] + first["landmark_loss"]
    assert first["loss"] == pytest.approx(named, rel=1e-5)


def test_an_exported_checkpoint_gives_what_it_gave(whole, labels):
    whole("export", f"Global.pretrained_model={whole.output}/latest")
    session = onnxruntime.InferenceSession(str(whole.output.with_suffix(".onnx")))
    pixels = cv2.imread(str(labels.parent / "images" / "0.png"))
    image = pixels.astype(np.float32) - [104, 117, 123]
    found = session.run(None, {"data": image.transpose(2, 0, 1)[None].astype(np.float32)})
    count = 2 * (12 * 15 + 6 * 8 + 3 * 4)
    assert [values.shape for values in found] == [(1, count, 4), (1, count, 2), (1, count, 10)]


def test_a_backbone_is_no_detector(whole):
    line = whole.refused("train", "Model.name=IResNet18")
    assert "Model.name: no detector is called 'IResNet18'" in line
    line = whole.refused("train", "Global.freeze_backbone=True", "Global.pretrained_model=x.pth")
    assert "freeze_backbone" in line


def evaluating(run, labels, **settings):
    """Overrides that measure on the set itself."""
    dataset = {"name": "WiderFaceValidation", "label_path": str(labels), **settings}
    run.config["DataLoader"]["Eval"] = {"dataset": dataset, "sampler": {"batch_size": 1}}
    return f"Global.pretrained_model={run.output}/latest"


def test_ranks_share_the_images_of_an_evaluation(whole, tmp_path, labels):
    """Of 16 images each of three has five or six, with as many boxes as it happens to find."""
    found = {}
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        run = Faces(folder, labels)
        evaluating(run, labels)
        weights = f"Global.pretrained_model={whole.output}/latest"
        run.world.run(ranks, *run.arguments("eval", weights))
        (line,) = (text for text in (run.output / "eval.log").read_text().splitlines()
                   if "[Eval]" in text)  # fmt: skip
        found[ranks] = line[line.index("AP 0.5") :].split(" (")[0]
    assert found[1] == found[3]
    assert "AP 0.5:0.95" in found[1] and "protocol original" in found[1]


def test_evaluation_in_training_keeps_the_best(tmp_path, labels):
    run = Faces(tmp_path, labels)
    evaluating(run, labels, protocol="vga")
    often = ["Global.eval_during_train=True", "Global.eval_unit=step", "Global.eval_interval=3"]
    run("train", *often, "Global.max_train_step=4")
    (entry,) = metrics_of(run.output, "eval")
    assert {"ap_50", "ap_50_95", "recall", "recall_0_24"} <= entry.keys()
    assert (run.output / "best_model").exists()


def test_figures_for_people_and_programs(whole, labels):
    weights = evaluating(whole, labels)
    _, *arguments = whole.arguments("eval", weights)
    said = whole.without_config("eval", *arguments, "--json=figures.json").stdout
    report = json.loads((whole.folder / "figures.json").read_text())
    (measured,) = report["sets"]
    assert measured["protocol"] == {
        "sizes": "original", "flip": False, "score_threshold": 0.02, "nms_threshold": 0.4,
        "rules": "all marked faces",
    }  # fmt: skip
    assert measured["num_images"] == 16 and report["model"]["source"].endswith("latest")
    assert f"ap_50            {measured['figures']['ap_50']:.4f}" in said
    assert "protocol: sizes original" in said
    del whole.config["DataLoader"]["Eval"]


def test_sets_are_for_their_use(whole, labels):
    run = whole
    evaluating(run, labels)
    run.config["DataLoader"]["Eval"]["dataset"]["name"] = "WiderFaceDataset"
    line = run.refused("eval", f"Global.pretrained_model={run.output}/latest")
    assert "DataLoader.Eval.dataset.name: detectors are measured on WiderFaceValidation" in line
    del run.config["DataLoader"]["Eval"]
