"""What all tests share: the process environment, golden figures, and gloo worlds of processes."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from plsc import runtime

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
REAL_FACES = ROOT.parent / "shared" / "data" / "orl"

settings.register_profile("plsc", deadline=None)  # a busy machine is no failure
settings.load_profile("plsc")
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:  # they share the cores, and so do the commands that they start
    os.environ.setdefault("PLSC_NUM_THREADS", str(max(1, runtime.cores() // WORKERS)))
runtime.prepare(local_size=1)  # before any test imports paddle


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; run by make test-slow")
    config.addinivalue_line("markers", "gpu: needs a GPU; holds a GPU kernel equal to the CPU's")


def golden_fill(key: str, shape: list[int], seed: int) -> np.ndarray:
    """Deterministic weights for a state-dict key, as the golden figures use them."""
    random = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    count = int(np.prod(shape))
    if key.endswith("_variance"):
        values = 0.5 + random.rand(count)
    elif key.endswith("_mean"):
        values = 0.2 * random.randn(count)
    elif len(shape) == 1:
        weight = key.endswith("weight")
        values = 0.6 + 0.4 * random.rand(count) if weight else 0.1 * random.randn(count)
    else:
        fan = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        values = random.randn(count) * np.sqrt(1.4 / fan)
    return values.reshape(shape).astype(np.float32)


@pytest.fixture
def fill():
    return golden_fill


@pytest.fixture
def golden():
    """Folder of the golden figures."""
    return GOLDEN


@pytest.fixture
def real_faces():
    """Folder with the ORL faces as an MXNet RecordIO set; the test is skipped without it."""
    if not (REAL_FACES / "train.rec").exists():
        pytest.skip("the ORL faces (../shared/data/orl) are not here")
    return REAL_FACES


class World:
    """Runs a script in W gloo processes under Paddle's launcher."""

    def __init__(self, folder: Path):
        self.folder = folder

    def command(self, size: int, *script: str) -> list[str]:
        launcher = [sys.executable, "-m", "paddle.distributed.launch", f"--nproc_per_node={size}"]
        return [*launcher, f"--log_dir={self.folder / 'log'}", *script]

    def run(self, size: int, *script: str, timeout: float = 240, check: bool = True, **variables):
        """The finished process; asserts success if `check`."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        environment.pop("PADDLE_TRAINER_ID", None)
        arguments = [str(part) for part in script]
        done = subprocess.run(
            self.command(size, *arguments) if size > 1 else [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            logs = "".join(
                path.read_text(errors="replace")[-3000:]
                for path in sorted((self.folder / "log").glob("workerlog.*"))
            )
            raise AssertionError(f"{script}: {done.returncode}\n{done.stderr[-3000:]}\n{logs}")
        return done


@pytest.fixture
def worlds(tmp_path):
    """Runs scripts of tests/distributed in worlds of gloo processes."""
    return World(tmp_path)


@pytest.fixture(scope="module")
def module_worlds(tmp_path_factory):
    """A new world of processes at each call, for runs that several tests of a module look at."""
    return lambda: World(tmp_path_factory.mktemp("world"))


def metrics_of(folder: Path, kind: str = "train") -> list[dict]:
    """The objects of one kind in a run's metrics.jsonl."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


@pytest.fixture
def read_metrics():
    return metrics_of


SMALL_BACKBONE = "QuickFace_nano"


@pytest.fixture(scope="session")
def small_backbone():
    """num_features -> the small backbone, whose statistics, scales and biases all matter."""
    import paddle

    from plsc.registry import BACKBONES

    def make(num_features: int):
        paddle.seed(0)
        net = BACKBONES.get(SMALL_BACKBONE, "Model.name")(num_features=num_features)
        rng = np.random.default_rng(0)
        for name, tensor in net.state_dict().items():
            if len(tensor.shape) == 1:
                low, high = (0.5, 1.5) if name.endswith(("_variance", "weight")) else (-0.3, 0.3)
                tensor.set_value(rng.uniform(low, high, tensor.shape).astype(np.float32))
        net.eval()
        return net

    return make


@pytest.fixture(scope="session")
def tiny_faces(tmp_path_factory):
    """A folder with 22 noisy pictures of 5 colours (`label.txt`) and 20 pairs (`pairs.txt`)."""
    import cv2

    folder = tmp_path_factory.mktemp("tiny_faces")
    random = np.random.default_rng(5)
    colours = random.integers(40, 216, (5, 3))
    labels = [i % 5 for i in range(22)]
    for i, label in enumerate(labels):
        picture = colours[label] + random.normal(0, 25, (112, 112, 3))
        cv2.imwrite(str(folder / f"{i}.png"), picture.clip(0, 255).astype(np.uint8))
    lines = [f"{i}.png\t{label}\n" for i, label in enumerate(labels)]
    (folder / "label.txt").write_text("".join(lines))
    pairs = [
        (i, (i + 5) % 20 if same else (i + 7) % 20, same) for i in range(10) for same in (1, 0)
    ]
    (folder / "pairs.txt").write_text("".join(f"{a}.png\t{b}.png\t{s}\n" for a, b, s in pairs))
    return folder


class Run:
    """Writes a config for a small training in `folder` and runs plsc's commands on it."""

    def __init__(self, folder: Path, faces: Path):
        self.folder = folder
        self.output = folder / "output" / SMALL_BACKBONE
        transforms = [
            {"DecodeImage": {"to_rgb": True, "channel_first": False}},
            {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3}},
            {"ToCHWImage": None},
        ]
        self.config = {
            "Global": {
                "task_type": "recognition",
                "output_dir": str(folder / "output"),
                "device": "cpu",
                "epochs": 3,
                "print_batch_step": 1,
                "seed": 7,
                "max_num_latest_checkpoint": -1,
            },
            "DistributedStrategy": {"data_parallel": True},
            "Model": {
                "name": SMALL_BACKBONE,
                "num_features": 32,
                "class_num": 5,
                "pfc_config": {"sample_ratio": 0.5, "model_parallel": True},
            },
            "Loss": {"Train": [{"MarginLoss": {"m2": 0.3, "s": 16.0, "weight": 1.0}}]},
            "LRScheduler": {"name": "Poly", "learning_rate": 0.05, "decay_unit": "step"},
            "Optimizer": {
                "name": "Momentum",
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "grad_clip": {
                    "name": "ClipGradByGlobalNorm",
                    "clip_norm": 5.0,
                    "no_clip_list": ["dist"],
                },
            },
            "DataLoader": {
                "Train": {
                    "dataset": {
                        "name": "FaceIdentificationDataset",
                        "image_root": str(faces),
                        "cls_label_path": str(faces / "label.txt"),
                        "transform_ops": [
                            transforms[0],
                            {"RandFlipImage": {"flip_code": 1}},
                            *transforms[1:],
                        ],
                    },
                    "sampler": {
                        "name": "DistributedBatchSampler",
                        "batch_size": 2,
                        "shuffle": True,
                        "drop_last": False,
                    },
                    "loader": {"num_workers": 0},
                },
                "Eval": {
                    "dataset": {
                        "name": "FaceVerificationDataset",
                        "image_root": str(faces),
                        "cls_label_path": str(faces / "pairs.txt"),
                        "transform_ops": transforms,
                    },
                    "sampler": {"name": "BatchSampler", "batch_size": 8},
                    "loader": {"num_workers": 0},
                },
            },
            "Metric": {"Eval": [{"LFWAcc": {"flip_test": True}}]},
        }
        self.world = World(folder)

    def __call__(self, command: str, *overrides: str, size: int = 1, check: bool = True):
        """`plsc-<command>` in `size` processes; the finished process."""
        return self.world.run(size, *self.arguments(command, *overrides), check=check)

    def arguments(self, command: str, *overrides: str) -> list[str]:
        """What to run after python: the installed command, its config and overrides."""
        import yaml

        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        script = str(Path(sys.executable).with_name(f"plsc-{command}"))
        options = [option for override in overrides for option in ("-o", override)]
        return [script, "-c", str(path), *options]

    def losses(self) -> dict[int, float]:
        """Loss by step, exact."""
        return {entry["step"]: entry["loss"] for entry in metrics_of(self.output)}


@pytest.fixture
def run(tmp_path, tiny_faces):
    return Run(tmp_path, tiny_faces)
