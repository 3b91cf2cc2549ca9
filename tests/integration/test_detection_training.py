"""plsc-train trains detectors as MindFace and the PyTorch original did."""

import numpy as np
import paddle
import pytest
from detectors import figures, filled_detector
from golden_faces import GoldenFaces
from places import ROOT
from small_runs import Run, metrics_of
from torch_files import as_torch, write_torch

from plsc.config.registry import DETECTORS
from plsc.data.loader.batch import Batch
from plsc.detection.sections import LossConfig
from plsc.detection.training import DetectionTraining
from plsc.weights.torch_weights import torch_names

NETWORKS = {"mobilenet0.25": "RetinaFace_MobileNet025", "resnet50": "RetinaFace_ResNet50"}
RUNS = figures("training.json")
BOUNDS = {"mobilenet_sgd": 0.01, "mobilenet_sgd_clip": 0.005, "resnet50_sgd_clip": 0.001}
LOSSES = {"box_loss": "loc", "class_loss": "cls", "landmark_loss": "landm"}


def config_of(run: str, weights: str) -> dict:
    setting = RUNS[run]["setting"]
    clip = setting["clip_each_tensor_to_norm"]
    sampler = {"batch_size": setting["batch"], "shuffle": False}
    return {
        "Global": {
            "task_type": "detection",
            "plugins": ["golden_faces"],
            "pretrained_model": weights,
            "output_dir": "output",
            "device": "cpu",
            "epochs": 1,
            "print_batch_step": 1,
        },
        "Model": {"name": NETWORKS[setting["model"]]},
        "Loss": {"name": "MultiBoxLoss"},
        "LRScheduler": {
            "name": "MindFaceCosine",
            "learning_rate": setting["base_lr"],
            "warmup_steps": setting["warmup_steps"],
        },
        "Optimizer": {
            "name": "Momentum",
            "momentum": setting["momentum"],
            "weight_decay": setting["weight_decay"],
            **({"grad_clip": {"name": "ClipGradByNorm", "clip_norm": clip}} if clip else {}),
        },
        "DataLoader": {"Train": {"dataset": {"name": "GoldenFaces", "run": run},
                                 "sampler": sampler}},
    }  # fmt: skip


class Training(Run):
    """Runs plsc-train on a golden run's images."""

    def __init__(self, folder, run):
        super().__init__(folder, folder)
        self.config = config_of(run, str(folder / "start.pth"))
        self.output = folder / "output" / self.config["Model"]["name"]

    def __call__(self, command, *overrides):
        paths = f"{ROOT}:{ROOT / 'tests'}"
        return self.world.run(1, *self.arguments(command, *overrides), PYTHONPATH=paths)


@pytest.mark.parametrize("run", RUNS)
def test_golden_runs(tmp_path, run):
    """Losses step by step, over weights that the steps before have made."""
    setting, steps = RUNS[run]["setting"], RUNS[run]["steps"]
    net = filled_detector(DETECTORS.get(NETWORKS[setting["model"]], "")(), setting["weight_seed"])
    write_torch(tmp_path / "start.pth", as_torch(net, "module."))
    Training(tmp_path, run)("train")
    found = metrics_of(tmp_path / "output" / NETWORKS[setting["model"]])
    assert len(found) == len(steps)
    for number, (ours, theirs) in enumerate(zip(found, steps, strict=True)):
        bound = [2e-5, 1e-4][number] if number < 2 else BOUNDS[run]
        assert ours["loss"] == pytest.approx(theirs["total"], rel=bound), number
        assert ours["lr"] == pytest.approx(theirs["lr"], rel=1e-6)
        for name, other in LOSSES.items():
            assert ours[name] == pytest.approx(theirs[other], rel=2 * bound), (number, name)
    assert found[0]["grad_norm"] == pytest.approx(steps[0]["grad_norm"], rel=0.005)


@pytest.mark.parametrize("run", ["mobilenet_sgd", "resnet50_sgd_clip"])
def test_gradients_of_the_first_step(run):
    setting, bound = RUNS[run]["setting"], 0.005 if run == "mobilenet_sgd" else 0.02
    net = filled_detector(DETECTORS.get(NETWORKS[setting["model"]], "")(), setting["weight_seed"])
    net.train()
    faces = GoldenFaces(run)
    rows = [faces.get(index, None) for index in range(setting["batch"])]
    batch = Batch({name: np.stack([row[name] for row in rows]) for name in rows[0]})
    task = DetectionTraining(LossConfig())
    task.begin_step(batch, step=0, fraction=0)
    task.loss(net(paddle.to_tensor(batch["images"])), batch).objective.backward()
    names = torch_names(net)
    norms = {
        names[key][0]: float(np.linalg.norm(parameter.grad.numpy().astype(np.float64)))
        for key, parameter in net.named_parameters()
        if not parameter.stop_gradient
    }
    assert norms == pytest.approx(RUNS[run]["first_step_grad_norms"], rel=bound, abs=1e-3)
