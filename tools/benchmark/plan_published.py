"""Estimates of `plan.py` against published tables. Only their figures are here; sources below.

`plan.py --published` runs it. Sources:

* arcface_torch (InsightFace) docs/speed_benchmark.md: 8 V100-32G, ResNet50, fp16, global batch
  1024, synthetic data; model parallel (MP) and Partial FC 0.1 (PFC). Memory in MB.
* arcface_torch README and benchmarks/train: 8 A100-80G. Memory in GB.
* PLSC README: 92 million classes on 8 V100-32G (v2.2, FP16).

The head of arcface_torch holds other temporaries than plsc's: `arcface_memory`. The two sources of
arcface_torch differ by a factor of two in the memory of one network at one batch (4.9 and 10.1 GB).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plan_sizes import largest_class_num, trace_of
from training_config import random_faces, training_config

from plsc.config.load import load_config
from plsc.config.sections import Config
from plsc.engine.machine import Machine
from plsc.engine.memory import TaskMemory, peak_memory
from plsc.engine.network_trace import FLOAT, NetworkTrace
from plsc.recognition.plan.estimate import training_sizes

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DIM = 512
GPUS = Machine(devices=8)
# arcface_torch's arrays of [samples, rows], and of [rows, dim] beside the stored ones: copies of
# the rows in use and of their momentum, their normalised form and two gradients.
ARCFACE_LOGITS, ARCFACE_ROWS = 6 * FLOAT, 5 * FLOAT


@dataclass(frozen=True)
class Row:
    """A published figure: GB of a device."""

    network: str
    batch: int
    classes: int
    ratio: float
    memory: float


def _table(ratio: float, *rows: tuple[float, float]) -> list[Row]:
    return [Row("IResNet50", 128, int(c * 1e6), ratio, mb / 1e3) for c, mb in rows]


V100_TABLE = [
    *_table(
        1.0, (0.125, 5306), (0.25, 5826), (0.5, 7114), (1, 9966), (1.4, 11178), (2, 13978),
        (4, 23238), (5.5, 32188),
    ),
    *_table(
        0.1, (0.125, 4868), (0.25, 5004), (0.5, 5202), (1, 5620), (1.4, 6056), (2, 6472), (4, 8284),
        (5.5, 9854), (8, 12310), (16, 19950), (29, 32324),
    ),
]  # fmt: skip
A100_TRAIN = [
    Row("IResNet50", 128, 617_970, 1.0, 10.1),
    Row("IResNet50", 256, 617_970, 1.0, 16.4),
    Row("IResNet50", 1280, 617_970, 1.0, 66.7),
    Row("IResNet100", 128, 617_970, 1.0, 13.1),
    Row("IResNet100", 128, 2_000_000, 1.0, 20.5),
    Row("IResNet50", 128, 50_000_000, 0.1, 54.1),
    Row("IResNet50", 128, 70_000_000, 0.1, 73.7),
    Row("IResNet50", 128, 80_000_000, 0.1, 79.6),
]
PLSC_CLASSES = 92_000_000
PLSC_CONFIG = CONFIGS / "IResNet50_MS1MV3_ArcFace_pfc01_1n8c_dp_mp_fp16o1.yaml"


def config_of(row: Row) -> Config:
    """Return the config that a row of arcface_torch's tables corresponds to."""
    return training_config(
        row.network,
        classes=row.classes,
        ratio=row.ratio,
        Global={"device": "gpu"},
        FP16={"level": "O1"},
        DataLoader=random_faces(row.batch),
    )


def arcface_memory(row: Row, trace: NetworkTrace) -> float:
    """Return the GB that the row's training takes of a device, with arcface_torch's head."""
    sizes = training_sizes(config_of(row), trace, GPUS, dim=DIM)
    rows = sizes.head.sampled * DIM
    taken = rows * ARCFACE_ROWS
    if row.ratio == 1:
        taken -= 2 * rows * FLOAT  # all rows are used where they are
    logits = 8 * row.batch * sizes.head.sampled * ARCFACE_LOGITS
    after = taken + rows * FLOAT  # the gradient is never kept as factors
    task = TaskMemory(
        resident=sizes.task.resident, forward=taken + logits, backward=after, update=after
    )
    return peak_memory(sizes.network, task, GPUS)[0] / 1e9


def compare() -> list[dict[str, Any]]:
    """Return each published figure, the estimate and the error; print them."""
    traces: dict[str, NetworkTrace] = {}
    found = []
    for title, rows in (
        ("arcface_torch docs/speed_benchmark.md, 8 V100", V100_TABLE),
        ("arcface_torch benchmarks/train, 8 A100", A100_TRAIN),
    ):
        print(f"\n{title}\n  {'':40}{'GB':>16}{'error':>8}")
        for row in rows:
            if row.network not in traces:
                traces[row.network], _ = trace_of(config_of(row))
            memory = arcface_memory(row, traces[row.network])
            case = f"{row.network} batch {row.batch}, {row.classes / 1e6:.3g} M x {row.ratio:g}"
            error = memory / row.memory - 1
            print(f"  {case:40}{memory:>8.1f} /{row.memory:>6.1f}{error:>8.0%}")
            figures = {"published": row.memory, "estimate": memory}
            found.append(
                {"source": title, "case": case, "memory_gb": figures, "memory_error": error}
            )
    found.append(_most_classes(traces["IResNet50"]))
    return found


def _most_classes(trace: NetworkTrace) -> dict[str, Any]:
    """Compare with PLSC's claim, which names neither batch nor ratio: four batches, ratio 0.1."""
    found = {}
    print(f"\nMost classes on 8 V100-32G: {PLSC_CLASSES / 1e6:.0f} M (PLSC README); estimates with")
    print("float16 centres and ratio 0.1:")
    for batch in (16, 32, 64, 128):
        overrides = [
            "Model.pfc_config.dtype=float16",
            f"DataLoader.Train.sampler.batch_size={batch}",
        ]
        config = load_config(PLSC_CONFIG, overrides)
        most = largest_class_num(config, trace, GPUS, dim=DIM, memory=32e9)
        assert most is not None
        found[batch] = most
        print(f"  batch {batch:<4}{most / 1e6:>6.0f} M{most / PLSC_CLASSES - 1:>+8.0%}")
    return {"case": "most classes", "published": PLSC_CLASSES, "estimate_by_batch": found}
