"""Estimates of `plan.py` against the peak memory of short trainings, each in its own process.

`plan.py --check` runs it. What is compared is the process's peak resident memory (VmHWM), less the
framework's: what a process holds that trains next to nothing, less the little that this is; there
freed blocks go back to the system at once. The process as `plsc-train` runs it keeps some
(`plsc.nn.environment`), and is compared whole with what the estimate says.
"""

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training_config import random_faces, training_config
from turns import held

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3  # the allocator's gaps grow over the first ones
M_MMAP_THRESHOLD, MMAP_FROM = -3, 2**20  # mallopt's: blocks from 1 MiB on are given back at once
MEGABYTE = 1e6


@dataclass(frozen=True)
class Case:
    """A training on random images."""

    backbone: str
    batch: int
    classes: int = 1000
    ratio: float = 1.0
    optimizer: str = "Momentum"
    changes: tuple[str, ...] = ()  # as -o has them

    @property
    def name(self) -> str:
        """Return what is shown of it."""
        more = "".join(f" {change.split('.')[-1]}" for change in self.changes)
        return f"{self.backbone} batch {self.batch}, {self.classes} x {self.ratio:g}{more}"

    def config(self) -> Any:
        """Return its config."""
        from plsc.config.load import parse_config
        from plsc.config.yaml_tree import override

        config = training_config(
            self.backbone,
            classes=self.classes,
            ratio=self.ratio,
            optimizer=self.optimizer,
            Global={"epochs": 10**6, "seed": 1},
            DataLoader=random_faces(self.batch),
        )
        return parse_config(override(config.to_dict(), self.changes)) if self.changes else config


LITTLE = Case("QuickFace_nano", 1, 2)
RECOMPUTED = ("DistributedStrategy.recompute.layerlist_interval=1",)
CASES = (
    Case("IResNet18", 16),
    Case("IResNet18", 32),
    Case("IResNet18", 64),
    Case("IResNet18", 64, changes=("Global.accum_steps=4",)),
    Case("IResNet50", 16),
    Case("MobileFaceNet_base", 32),
    Case("FaceViT_tiny_patch9_112", 16, optimizer="AdamW"),
    Case("FaceViT_tiny_patch9_112", 32, optimizer="AdamW", changes=RECOMPUTED),
    Case("IResNet18", 16, 200_000),
    Case("IResNet18", 16, 200_000, 0.1),
    Case("QuickFace_nano", 128, 200_000),
    Case("QuickFace_nano", 600, 100_000),
    Case("QuickFace_nano", 128, 200_000, 0.1, "AdamW"),
)


def estimate(case: Case) -> tuple[int, int]:
    """Bytes at the peak: of tensors, and of the process with all that plan.py counts."""
    from plan_sizes import trace_of

    from plsc.engine.machine import Machine
    from plsc.recognition.plan.estimate import training_sizes

    config = case.config()
    trace, dim = trace_of(config)
    sizes = training_sizes(config, trace, replace(Machine.cpu(1), framework=0.0), dim=dim)
    return sizes.peak - sizes.slack, sizes.peak + int(Machine.cpu(1).framework)


def measure(case: Case, *, returned: bool) -> int:
    """VmHWM in bytes of a process that trains `case`.

    With `returned`, freed blocks are given back at once, so that this is the tensors' peak; else
    as `plsc.nn.environment` has it, which keeps them for the next step.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    task = json.dumps({**vars(case), "returned": returned})
    done = subprocess.run(
        [sys.executable, __file__, task],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{case.name}: {done.stderr[-2000:]}")
    return int(done.stdout.splitlines()[-1])


def check(cases: tuple[Case, ...]) -> list[dict[str, Any]]:
    """Estimate and measure each case; prints a line each."""
    framework = measure(LITTLE, returned=True) - estimate(LITTLE)[0]
    print(f"MB at the peak; {framework / MEGABYTE:.0f} are the framework's, no tensors:")
    print(f"{'':64}{'tensors':>24}{'error':>8}{'process':>20}{'error':>8}")
    rows = []
    for case in cases:
        tensors, whole = estimate(case)
        found = measure(case, returned=True) - framework, measure(case, returned=False)
        errors = tensors / found[0] - 1, whole / found[1] - 1
        shown = [
            f"{mine / MEGABYTE:.0f} / {seen / MEGABYTE:.0f}"
            for mine, seen in zip((tensors, whole), found, strict=True)
        ]
        print(
            f"{case.name:64}{shown[0]:>24}{errors[0]:>8.1%}{shown[1]:>20}{errors[1]:>8.1%}",
            flush=True,
        )
        rows.append(
            {
                "case": case.name,
                "estimate": tensors,
                "measured": found[0],
                "error": errors[0],
                "estimate_of_process": whole,
                "measured_of_process": found[1],
                "error_of_process": errors[1],
            }
        )
    return rows


def _train(case: Case, *, returned: bool) -> int:
    """Train a few steps; the process's VmHWM in bytes."""
    from plsc.nn import environment as runtime

    runtime.prepare(local_size=1)
    if returned:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_FROM)
    runtime.import_paddle()
    from plsc.engine.build import build_loader, build_training
    from plsc.engine.trainer import train_step
    from plsc.recognition.trial import RandomFaces

    config = case.config()
    faces = RandomFaces(case.batch)
    loader = build_loader(config, faces)
    training = build_training(config, loader, faces)
    batch = next(loader.batches(0, 0))
    for _ in range(STEPS):
        train_step(training, batch, lr=0.01)
        training.progress.advance()
    return held("VmHWM")


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    way = asked.pop("returned")
    print(_train(Case(**asked), returned=way))
