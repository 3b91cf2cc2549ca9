"""Commands with a GPU's answers, on CPU tensors: the same numbers, by the lines that a GPU runs."""

import json

import numpy as np
import pytest
from checkpoints import backbone_of
from places import ROOT
from small_runs import Run, metrics_of

GPU = "Global.plugins=[gpu_answers]", "Global.device=gpu"
O1 = "FP16={'level': 'O1', 'GradScaler': {'init_loss_scaling': 256.0}}"
STORAGES = {
    "device": (),
    "host": ("Model.pfc_config.storage=host", "Model.pfc_config.dtype=bfloat16"),
    "file": ("Model.pfc_config.storage=file", "Model.pfc_config.dtype=float16"),
}


@pytest.fixture(autouse=True)
def paddles_own_operators(monkeypatch):
    monkeypatch.setenv("PLSC_STOCK_CPU", "1")


def run_in(folder, faces):
    folder.mkdir()
    return Run(folder, faces)


@pytest.mark.parametrize("storage", STORAGES)
def test_training_evaluation_and_resume(tmp_path, tiny_faces, storage):
    options = *STORAGES[storage], "LRScheduler.learning_rate=1e-4"  # or rounding grows
    cpu = run_in(tmp_path / "cpu", tiny_faces)
    cpu("train", *options)
    gpu = run_in(tmp_path / "gpu", tiny_faces)
    gpu("train", *options, *GPU, O1, "Global.max_train_step=7")
    early = backbone_of(gpu.output / "latest")
    resumed = gpu("train", *options, *GPU, O1, f"Global.checkpoint={gpu.output}/latest")
    assert "on the device 1.00 GiB" in resumed.stdout
    assert metrics_of(gpu.output)[0]["loss_scale"] == 256.0
    assert gpu.losses() == pytest.approx(cpu.losses(), rel=2e-3)
    found, expected = backbone_of(gpu.output / "latest"), backbone_of(cpu.output / "latest")
    moved = sum(np.abs(found[name] - values).sum() for name, values in early.items())
    apart = sum(np.abs(found[name] - values).sum() for name, values in expected.items())
    assert apart < 0.01 * moved
    if storage == "device":
        weights = f"Global.pretrained_model={gpu.output}/latest"
        evaluated = gpu("eval", *GPU, weights).stdout
        assert "[Eval]" in evaluated


DOCTOR_AND_EMBEDDER = """
import json, sys
import gpu_answers
import numpy as np
from plsc import Embedder
from plsc.cli import doctor
faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
cpu, gpu = (Embedder(sys.argv[1], provider=name).embed(faces) for name in ("cpu", "cuda"))
np.testing.assert_allclose(gpu, cpu, rtol=1e-5, atol=1e-6)
doctor.main(["--seconds", "0.5", "--json"])
"""


def test_doctor_and_embedder(tmp_path, tiny_faces):
    """Both ask for GPUs by themselves, without a config."""
    run = run_in(tmp_path / "run", tiny_faces)
    run("train", "Global.max_train_step=2")
    script = "-c", DOCTOR_AND_EMBEDDER, run.output / "latest"
    done = run.world.run(1, *script, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}")
    report = json.loads(done.stdout)
    assert (report["gpus"], report["paddle_built_for"]) == (1, "gpu")


def test_two_ranks(tmp_path, tiny_faces):
    slow = "LRScheduler.learning_rate=1e-4", "Global.epochs=1"
    cpu = run_in(tmp_path / "cpu", tiny_faces)
    cpu("train", *slow, size=2)
    gpu = run_in(tmp_path / "gpu", tiny_faces)
    script = gpu.arguments("train", *slow, *GPU)
    done = gpu.world.run(2, *script, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}")
    assert "travel between the hosts" in done.stdout
    assert gpu.losses() == pytest.approx(cpu.losses(), rel=1e-4) and len(gpu.losses()) > 2
