"""How a plan is shown: a table for people, plain values for programs."""

from dataclasses import asdict
from typing import Any

from plsc.recognition.plan.estimate import Plan

MILLION = 1e6


def amount(num_bytes: float) -> str:
    """Bytes with a unit: 1.23 GB, 45.6 MB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes / 1e3:.3g} kB"


def as_tree(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, for JSON."""
    tree = asdict(plan)
    tree["device"]["resident"] = plan.device.resident
    tree["traffic"]["total"] = plan.traffic.total
    return tree | {"fits": plan.fits}


def table(plan: Plan) -> str:
    """Every figure of the plan, a line each."""
    device, traffic, speed, machine = plan.device, plan.traffic, plan.speed, plan.machine
    lines = [
        f"{plan.classes} classes x {plan.dim} on {plan.ranks} device(s), {plan.sampled} rows in a "
        f"step, batch {plan.batch} each, {plan.precision}",
        "",
        "Memory of a device",
        *_rows(
            ("framework", device.framework),
            (f"backbone weights ({plan.parameters / MILLION:.2f} M)", device.weights),
            ("backbone optimizer state", device.optimizer),
            (f"class centres (storage {plan.storage})", device.head_rows),
            ("class centres' optimizer state", device.head_state),
            ("  between steps", device.resident),
            ("half-precision weights", device.half_weights),
            ("backbone gradients", device.gradients),
            ("images", device.images),
            ("activations kept for backward", device.activations),
            ("head: taken rows", device.head_taken),
            ("head: rows read ahead", device.head_ahead),
            ("head: gradient of the rows", device.head_gradient),
            ("head: cosines, logits, probabilities", device.head_logits),
            ("allocator", device.slack),
            ("  peak (the phases of a step do not add up)", device.peak),
        ),
        *_rows(("host memory of a rank for class centres", plan.host)),
        *_rows(("disk of a rank for class centres", plan.disk)),
        "",
        "Communication of a rank in a step (size of the results; none grows with classes)",
        *_rows(
            ("gather of features", traffic.features),
            ("gather of labels", traffic.labels),
            ("three reductions of the loss", traffic.reductions),
            ("gradient of features", traffic.feature_gradients),
            ("all-reduce of backbone gradients", traffic.backbone_gradients),
            ("  total", traffic.total),
        ),
        "",
        "Work and time",
        f"  {'backbone, one image forward':46}{plan.multiply_adds / 1e9:>10.3f} G multiply-adds",
        f"  {'backbone, one image forward and backward':46}{plan.flops / 1e9:>10.2f} GFLOP",
        f"  {'head, one step of a rank':46}{plan.head_flops / 1e9:>10.2f} GFLOP",
        f"  {'backbone / head / communication not hidden':46}"
        f"{speed.backbone * 1e3:>10.1f} / {speed.head * 1e3:.1f} / "
        f"{speed.communication * 1e3:.1f} ms",
        f"  {'images/s of all devices':46}{speed.images_per_second:>10.0f}"
        f" (at {machine.efficiency:.0%} of {machine.flops / 1e12:g} TFLOP/s, "
        f"head {machine.float32_flops / 1e12:g})",
    ]
    if machine.memory is not None:
        most = "no limit found" if plan.largest_class_num is None else f"{plan.largest_class_num}"
        fits = "fits" if plan.fits else "DOES NOT FIT"
        lines += ["", f"{fits} in {amount(machine.memory)}; largest class count: {most}"]
    return "\n".join(lines)


def _rows(*rows: tuple[str, float]) -> list[str]:
    return [f"  {name:46}{amount(size):>12}" for name, size in rows if size]
