"""A second task by the public commands: trained, resumed to the bit, on two ranks, exported."""

from pathlib import Path

import numpy as np
import pytest
from checkpoints import assert_equal, backbone_of
from onnx_models import outputs
from places import ROOT
from small_runs import Run

CONFIG = {
    "Global": {
        "task_type": "noise",
        "plugins": ["noise_task"],
        "output_dir": "output",
        "device": "cpu",
        "epochs": 3,
        "print_batch_step": 1,
        "max_num_latest_checkpoint": -1,
    },
    "Model": {"name": "Line"},
    "Loss": {"weight": 2.0},
    "LRScheduler": {"name": "Poly", "learning_rate": 0.1, "decay_unit": "step"},
    "Optimizer": {"name": "Momentum", "grad_clip": {"clip_norm": 5.0}},
    "DataLoader": {
        "Train": {
            "dataset": {"name": "NoiseDataset", "size": 50},
            "sampler": {"batch_size": 8, "shuffle": True},
        }
    },
}


class Noise(Run):
    """Runs commands on CONFIG in a folder."""

    def __init__(self, folder: Path):
        super().__init__(folder, folder)
        self.config, self.output = CONFIG, folder / "output" / "Line"

    def __call__(self, command: str, *overrides: str, ranks: int = 1, check: bool = True):
        script = self.arguments(command, *overrides)
        paths = f"{ROOT}:{ROOT / 'docs' / 'extend'}"
        return self.world.run(ranks, *script, check=check, PYTHONPATH=paths)

    def weights(self) -> dict[str, np.ndarray]:
        return backbone_of(self.output / "latest")


@pytest.fixture
def noise(tmp_path):
    return Noise(tmp_path)


@pytest.mark.parametrize("stock", ["0", "1"], ids=["tensor by tensor", "one vector"])
def test_it_learns_resumes_to_the_bit_and_exports(noise, tmp_path, monkeypatch, stock):
    monkeypatch.setenv("PLSC_STOCK_CPU", stock)
    noise("train")
    whole, weights = noise.losses(), noise.weights()
    assert whole[max(whole)] < 0.1 * whole[1]
    folder = tmp_path / "parts"
    folder.mkdir()
    parts = Noise(folder)
    parts("train", "Global.max_train_step=9")
    ahead = "DataLoader.Train.loader.device_prefetch=True"  # as on a GPU, where it is the default
    parts("train", f"Global.checkpoint={parts.output}/latest", ahead)
    assert parts.losses() == whole
    assert_equal(parts.weights(), weights)
    assert not list(noise.output.glob("*/head-*"))
    state = (noise.output / "latest" / "state.json").read_text()
    assert '"task": "noise"' in state and "num_classes" not in state
    noise("export", f"Global.pretrained_model={noise.output}/latest")
    points = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    found = outputs(noise.output.with_suffix(".onnx"), points)
    expected = points @ weights["line.weight"] + weights["line.bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_two_ranks_and_parts_equal_one(noise, tmp_path):
    noise("train", "DataLoader.Train.sampler.batch_size=16")
    folder = tmp_path / "ranks"
    folder.mkdir()
    two = Noise(folder)
    two("train", "Global.accum_steps=2", ranks=2)
    assert two.losses() == pytest.approx(noise.losses(), rel=1e-5)
    for name, values in two.weights().items():
        np.testing.assert_allclose(values, noise.weights()[name], rtol=1e-5, atol=1e-7)


def test_a_checkpoint_of_another_task_is_refused(noise, small_checkpoint):
    line = noise.refused("train", f"Global.checkpoint={small_checkpoint}")
    assert "is of the task recognition, Global.task_type is noise" in line
