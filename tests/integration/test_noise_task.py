"""A second task by the public commands: trained, resumed to the bit, on two ranks, exported."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from places import ROOT
from safetensors.numpy import load_file
from small_runs import World, metrics_of

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


class Noise:
    """Runs commands on CONFIG in a folder."""

    def __init__(self, folder: Path):
        self.folder, self.output = folder, folder / "output" / "Line"
        (folder / "c.yaml").write_text(yaml.safe_dump(CONFIG))

    def arguments(self, command: str, *overrides: str) -> list[str]:
        words = [word for item in overrides for word in ("-o", item)]
        script = str(Path(sys.executable).with_name(f"plsc-{command}"))
        return [script, "-c", str(self.folder / "c.yaml"), *words]

    def __call__(self, command: str, *overrides: str, ranks: int = 1):
        paths = f"{ROOT}:{ROOT / 'tests'}"
        return World(self.folder).run(ranks, *self.arguments(command, *overrides), PYTHONPATH=paths)

    def losses(self) -> list[float]:
        return [entry["loss"] for entry in metrics_of(self.output)]

    def weights(self, checkpoint: str = "latest") -> dict[str, np.ndarray]:
        return load_file(self.output / checkpoint / "backbone.safetensors")


@pytest.fixture
def noise(tmp_path):
    return Noise(tmp_path)


def test_it_learns_resumes_to_the_bit_and_exports(noise, tmp_path):
    noise("train")
    whole, weights = noise.losses(), noise.weights()
    assert whole[-1] < 0.1 * whole[0]
    folder = tmp_path / "parts"
    folder.mkdir()
    parts = Noise(folder)
    parts("train", "Global.max_train_step=9")
    parts("train", f"Global.checkpoint={parts.output}/latest")
    assert parts.losses() == whole
    for name, values in parts.weights().items():
        np.testing.assert_array_equal(values, weights[name])
    assert not list(noise.output.glob("*/head-*"))
    state = (noise.output / "latest" / "state.json").read_text()
    assert '"task": "noise"' in state and "num_classes" not in state
    noise("export", f"Global.pretrained_model={noise.output}/latest")
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        str(noise.output.with_suffix(".onnx")), providers=["CPUExecutionProvider"]
    )
    points = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    (found,) = session.run(["value"], {"images": points})
    expected = points @ weights["line.weight"] + weights["line.bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_two_ranks_and_parts_equal_one(noise, tmp_path):
    noise("train", "DataLoader.Train.sampler.batch_size=16")
    folder = tmp_path / "ranks"
    folder.mkdir()
    two = Noise(folder)
    two("train", "Global.accum_steps=2", ranks=2)
    np.testing.assert_allclose(two.losses(), noise.losses(), rtol=1e-5)
    for name, values in two.weights().items():
        np.testing.assert_allclose(values, noise.weights()[name], rtol=1e-5, atol=1e-7)


def test_a_checkpoint_of_another_task_is_refused(noise, small_checkpoint):
    arguments = noise.arguments("train", f"Global.checkpoint={small_checkpoint}")
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=noise.folder,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "is of the task recognition, Global.task_type is noise" in done.stderr
