"""What all tests share: the process environment, golden figures, and gloo worlds of processes."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from plsc import runtime

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
REAL_FACES = ROOT.parent / "shared" / "data" / "orl"

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
