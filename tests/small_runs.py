"""Small trainings, and the processes that commands run in: new ones, launched ones, forked ones."""

import atexit
import contextlib
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from places import ROOT
from refusals import error_line

from plsc.nn import environment as runtime

SMALL_BACKBONE = "QuickFace_nano"


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


class Forks:
    """Runs plsc's commands in children of a process that has imported paddle already."""

    servers: dict[str, "Forks"] = {}  # by the number of threads, which paddle reads once

    def __init__(self, threads: str):
        self.server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "fork_server.py")],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PLSC_NUM_THREADS": threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said = tempfile.TemporaryDirectory()
        atexit.register(self.kill)

    @classmethod
    def here(cls) -> "Forks":
        """Return those whose children have as many threads as commands that are started now."""
        threads = os.environ.get("PLSC_NUM_THREADS") or str(runtime.cores())
        if threads not in cls.servers or cls.servers[threads].server.poll() is not None:
            cls.servers[threads] = cls(threads)
        return cls.servers[threads]

    def kill(self) -> None:
        """The server and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()

    def run(self, command: str, arguments: list[str], *, folder: Path, timeout=240):
        """The finished command: its status and what it has printed."""
        variables = {n: text for n, text in os.environ.items() if not n.startswith("PADDLE_")}
        request = {
            "command": command,
            "arguments": arguments,
            "folder": str(folder),
            "variables": {**variables, "PYTHONPATH": str(ROOT)},
            "out": str(Path(self.said.name) / "out"),
            "err": str(Path(self.said.name) / "err"),
        }
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        if not select.select([self.server.stdout], [], [], timeout)[0]:
            self.kill()
            raise AssertionError(f"{command} {arguments}: not done after {timeout} s")
        status = int(self.server.stdout.readline())
        out, err = (Path(request[name]).read_text(errors="replace") for name in ("out", "err"))
        return subprocess.CompletedProcess([f"plsc-{command}", *arguments], status, out, err)


def forked(name: str, *arguments: object, cwd: Path, status: int | None = 0):
    """Return a finished command, as `commands.installed` does, in a forked process."""
    texts = [str(argument) for argument in arguments]
    done = Forks.here().run(name.removeprefix("plsc-"), texts, folder=cwd)
    assert status is None or done.returncode == status, done
    assert status is None or "Traceback" not in done.stderr, done
    return done


def metrics_of(folder: Path, kind: str = "train") -> list[dict]:
    """The objects of one kind in a run's metrics.jsonl."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


def write_own_bin(faces: Path, path: Path) -> Path:
    """Write a `.bin` of other pairs than those of `tiny_faces`, and return it."""
    pairs = [(i, i + 5) if i % 2 else (i, i + 6) for i in range(12)]
    images = [(faces / f"{i}.png").read_bytes() for pair in pairs for i in pair]
    path.write_bytes(pickle.dumps((images, [bool(i % 2) for i in range(12)])))
    return path


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
        """`plsc-<command>`: in a forked process; what it has printed and its status.

        That is not as a user starts it: `installed` is for tests of what comes before the command
        itself. Several ranks are started as a user does: gloo's threads and a fork do not go
        together well (one of some hundred such runs ended in a segmentation fault).
        """
        if size > 1:
            return self.installed(command, *overrides, size=size, check=check)
        _, *arguments = self.arguments(command, *overrides)
        return self.without_config(command, *arguments, check=check)

    def without_config(self, command: str, *arguments, check: bool = True):
        """The same in one process, with these arguments and no others."""
        texts = [str(argument) for argument in arguments]
        done = Forks.here().run(command, texts, folder=self.folder)
        if check and done.returncode:
            raise AssertionError(f"{done.args}: {done.returncode}\n{done.stderr[-3000:]}")
        return done

    def installed(self, command: str, *overrides: str, size: int = 1, check: bool = True):
        """The installed `plsc-<command>` in new processes, several under Paddle's launcher."""
        return self.world.run(size, *self.arguments(command, *overrides), check=check)

    def arguments(self, command: str, *overrides: str) -> list[str]:
        """What to run after python: the installed command, its config and overrides."""
        import yaml

        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        script = str(Path(sys.executable).with_name(f"plsc-{command}"))
        options = [option for override in overrides for option in ("-o", override)]
        return [script, "-c", str(path), *options]

    def refused(self, command: str, *overrides: str) -> str:
        """Return the line that `plsc-<command>` refuses its config with: status 2, no traceback."""
        done = self(command, *overrides, check=False)
        assert done.returncode == 2, done
        return error_line(done.stderr, f"plsc-{command}")

    def state(self, checkpoint: str = "latest") -> dict:
        """Return what a checkpoint says of itself."""
        return json.loads((self.output / checkpoint / "state.json").read_text())

    def losses(self) -> dict[int, float]:
        """Loss by step, exact."""
        return {entry["step"]: entry["loss"] for entry in metrics_of(self.output)}
