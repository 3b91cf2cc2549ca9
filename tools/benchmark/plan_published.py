"""Estimates of `plan.py` against published tables. Only their figures are here; sources below.

`plan.py --published` runs it. Sources:

* arcface_torch (InsightFace) docs/speed_benchmark.md: 8 V100-32G, ResNet50, fp16, global batch
  1024, synthetic data; model parallel (MP) and Partial FC 0.1 (PFC). Memory in MB.
* arcface_torch README and benchmarks/train: 8 A100-80G and 8 V100-32G. Memory in GB.
* PLSC tests/CI/case.sh: images/s that its regression tests expect; the GPU is not stated there, its
  face README names A100. PLSC README: 92 million classes on 8 V100-32G (v2.2, FP16).

The head of arcface_torch holds other temporaries than plsc's: ARCFACE. Efficiency is fitted, one
constant for each group of rows, and a step's overhead of 40 ms is what the batches of 64, 128 and
256 on V100 say; so images/s only test how time grows with classes, batch and network. Peaks and
bandwidths of a GPU are its maker's. The two sources of arcface_torch differ by a factor of two in
the memory of one network at one batch (4.9 and 10.1 GB).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from plsc.config.load import load_config, parse_config
from plsc.config.sections import Config
from plsc.recognition.plan.build import traced
from plsc.recognition.plan.estimate import Plan, plan
from plsc.recognition.plan.head import FLOAT, PLSC, HeadCosts
from plsc.recognition.plan.machine import Machine
from plsc.recognition.plan.trace import Trace

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# Copies of the rows in use and of their momentum, their normalised form and two gradients; the
# gradient is never kept as factors.
ARCFACE = HeadCosts(logits=6 * FLOAT, rows=3 * FLOAT, factors=False, sampled=2 * FLOAT)
V100 = Machine(
    devices=8,
    memory=32e9,
    bandwidth=130e9,
    flops=125e12,
    head_flops=15.7e12,
    memory_bandwidth=900e9,
)
A100 = Machine(
    devices=8, memory=80e9, bandwidth=250e9, flops=312e12, head_flops=156e12, memory_bandwidth=2e12
)


@dataclass(frozen=True)
class Row:
    """A published figure: images/s, and GB of a device where they are given."""

    network: str
    batch: int
    classes: int
    ratio: float
    speed: float
    memory: float | None = None


def _table(ratio: float, *rows: tuple[float, float, float]) -> list[Row]:
    return [Row("IResNet50", 128, int(c * 1e6), ratio, speed, mb / 1e3) for c, speed, mb in rows]


V100_TABLE = [
    *_table(
        1.0, (0.125, 4824, 5306), (0.25, 4521, 5826), (0.5, 4013, 7114), (1, 3449, 9966),
        (1.4, 3043, 11178), (2, 2593, 13978), (4, 1748, 23238), (5.5, 1389, 32188),
    ),
    *_table(
        0.1, (0.125, 5004, 4868), (0.25, 4976, 5004), (0.5, 4900, 5202), (1, 4803, 5620),
        (1.4, 4738, 6056), (2, 4626, 6472), (4, 4208, 8284), (5.5, 3975, 9854), (8, 3565, 12310),
        (16, 2679, 19950), (29, 1855, 32324),
    ),
]  # fmt: skip
V100_TRAIN = [
    Row("IResNet50", 64, 2_000_000, 1.0, 2576),
    Row("IResNet50", 64, 2_000_000, 0.1, 4501),
    Row("IResNet50", 128, 2_000_000, 1.0, 2810),
    Row("IResNet50", 128, 2_000_000, 0.1, 5430),
    Row("IResNet50", 256, 2_000_000, 0.1, 6095),
    Row("IResNet50", 64, 617_970, 1.0, 3889),
    Row("IResNet50", 128, 617_970, 1.0, 4322),
    Row("IResNet50", 256, 617_970, 1.0, 4921),
]
A100_TRAIN = [
    Row("IResNet50", 128, 617_970, 1.0, 5170, 10.1),
    Row("IResNet50", 256, 617_970, 1.0, 7780, 16.4),
    Row("IResNet50", 1280, 617_970, 1.0, 9400, 66.7),
    Row("IResNet100", 128, 617_970, 1.0, 3700, 13.1),
    Row("IResNet100", 128, 2_000_000, 1.0, 3480, 20.5),
    Row("IResNet50", 128, 50_000_000, 0.1, 2700, 54.1),
    Row("IResNet50", 128, 70_000_000, 0.1, 2170, 73.7),
    Row("IResNet50", 128, 80_000_000, 0.1, 1080, 79.6),
]
# Stem, overrides, GPUs, images/s.
VIT = "FaceViT_{}_patch9_112_WebFace42M_CosFace_{}_1n8c_dp_mp_fp16o1"
PLSC_CI: list[tuple[str, list[str], int, float]] = [
    ("IResNet50_MS1MV3_ArcFace_pfc10_1n8c_dp_mp_fp16o1", [], 8, 4833.48),
    ("IResNet50_MS1MV3_ArcFace_pfc01_1n8c_dp_mp_fp16o1", [], 1, 621.92),
    ("IResNet100_WebFace42M_CosFace_pfc02_1n8c_dp_mp_fp16o1", ["Model.class_num=93431"], 1, 419.58),
    (VIT.format("tiny", "pfc10_droppath005_mask0"), ["Model.class_num=93431"], 8, 9247.1),
    (VIT.format("tiny", "pfc02_droppath005_mask0"), ["Model.class_num=93431"], 8, 8745.62),
    (
        VIT.format("base", "pfc03_droppath005_mask005"),
        ["Model.class_num=93431", "DataLoader.Train.sampler.batch_size=128"],
        8,
        2272.98,
    ),
]  # fmt: skip
PLSC_CLASSES = 92_000_000


def config_of(row: Row) -> Config:
    """The config that a row of arcface_torch's tables corresponds to."""
    tree: dict[str, Any] = {
        "Global": {"device": "gpu"},
        "FP16": {"level": "O1"},
        "Model": {
            "name": row.network,
            "num_features": 512,
            "class_num": row.classes,
            "pfc_config": {"sample_ratio": row.ratio},
        },
        "Optimizer": {"name": "Momentum"},
        "DataLoader": {
            "Train": {
                "dataset": {"name": "FaceRandomDataset"},
                "sampler": {"batch_size": row.batch},
            }
        },
    }
    return parse_config(tree)


@dataclass(frozen=True)
class Line:
    """A published figure beside a function from efficiency to the estimate."""

    name: str
    speed: float
    memory: float | None
    estimate: Callable[[float], Plan]


def _lines(rows: list[Row], machine: Machine, traces: dict[str, Trace]) -> list[Line]:
    found = []
    for row in rows:
        config = config_of(row)
        if row.network not in traces:
            traces[row.network] = traced(config)
        name = f"{row.network} batch {row.batch}, {row.classes / 1e6:.3g} M x {row.ratio:g}"
        estimate = _estimate(config, traces[row.network], machine, ARCFACE)
        found.append(Line(name, row.speed, row.memory, estimate))
    return found


def _estimate(
    config: Config, trace: Trace, machine: Machine, costs: HeadCosts
) -> Callable[[float], Plan]:
    return lambda efficiency: plan(
        config, trace, replace(machine, efficiency=efficiency), costs=costs
    )


def _ci(machine: Machine) -> list[Line]:
    found = []
    for stem, overrides, gpus, speed in PLSC_CI:
        config = load_config(CONFIGS / f"{stem}.yaml", overrides)
        one = replace(machine, devices=gpus)
        name = f"{stem.split('_WebFace')[0].split('_MS1')[0]}, {gpus} GPU(s)"
        found.append(Line(name, speed, None, _estimate(config, traced(config), one, PLSC)))
    return found


def fitted(lines: list[Line]) -> float:
    """The efficiency at which as many images/s are too high as too low."""
    low, high = 1e-3, 1.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        errors = [math.log(x.estimate(middle).speed.images_per_second / x.speed) for x in lines]
        low, high = (middle, high) if median(errors) < 0 else (low, middle)
    return low


def compare() -> list[dict[str, Any]]:
    """Each published figure, the estimate and the error; prints them."""
    traces: dict[str, Trace] = {}
    groups = {
        "arcface_torch docs/speed_benchmark.md, 8 V100": _lines(V100_TABLE, V100, traces),
        "arcface_torch benchmarks/train, 8 V100": _lines(V100_TRAIN, V100, traces),
        "arcface_torch benchmarks/train, 8 A100": _lines(A100_TRAIN, A100, traces),
        "PLSC tests/CI/case.sh, A100 assumed": _ci(A100),
    }
    found = []
    for title, lines in groups.items():
        efficiency = fitted(lines)
        print(f"\n{title}; efficiency fitted: {efficiency:.1%}")
        print(f"  {'':40}{'images/s':>18}{'error':>8}{'GB':>16}{'error':>8}")
        for line in lines:
            entry = _entry(title, line, line.estimate(efficiency))
            found.append(entry)
            print(_shown(entry))
    found.append(_most_classes(traces["IResNet50"]))
    return found


def _entry(title: str, line: Line, estimate: Plan) -> dict[str, Any]:
    speed, memory = estimate.speed.images_per_second, estimate.device.peak / 1e9
    return {
        "source": title,
        "case": line.name,
        "images_per_second": {"published": line.speed, "estimate": speed},
        "memory_gb": {"published": line.memory, "estimate": memory},
        "speed_error": speed / line.speed - 1,
        "memory_error": None if line.memory is None else memory / line.memory - 1,
    }


def _shown(entry: dict[str, Any]) -> str:
    speed, memory = entry["images_per_second"], entry["memory_gb"]
    text = f"  {entry['case']:40}{speed['estimate']:>9.0f} /{speed['published']:>7.0f}"
    text += f"{entry['speed_error']:>8.0%}"
    if entry["memory_error"] is not None:
        text += f"{memory['estimate']:>8.1f} /{memory['published']:>6.1f}"
        text += f"{entry['memory_error']:>8.0%}"
    return text


def _most_classes(trace: Trace) -> dict[str, Any]:
    """PLSC's claim names neither batch nor ratio: two batches with ratio 0.1."""
    stem, found = PLSC_CI[1][0], {}
    print(f"\nMost classes on 8 V100-32G: {PLSC_CLASSES / 1e6:.0f} M (PLSC README); estimates with")
    print("float16 centres and ratio 0.1:")
    for batch in (16, 32, 64, 128):
        overrides = [
            "Model.pfc_config.dtype=float16",
            f"DataLoader.Train.sampler.batch_size={batch}",
        ]
        most = plan(load_config(CONFIGS / f"{stem}.yaml", overrides), trace, V100).largest_class_num
        assert most is not None
        found[batch] = most
        print(f"  batch {batch:<4}{most / 1e6:>6.0f} M{most / PLSC_CLASSES - 1:>+8.0%}")
    return {"case": "most classes", "published": PLSC_CLASSES, "estimate_by_batch": found}
