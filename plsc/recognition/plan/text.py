"""Show the sizes of a training: a table for people, plain values for programs."""

from dataclasses import asdict
from typing import Any

from plsc.engine.memory import amount
from plsc.recognition.plan.estimate import TrainingSizes

MILLION = 1e6


def as_tree(sizes: TrainingSizes) -> dict[str, Any]:
    """Return the sizes as plain values, for JSON."""
    tree = asdict(sizes)
    tree["device"]["resident"] = sizes.device.resident
    tree["traffic"]["total"] = sizes.traffic.total
    return tree | {"fits": sizes.fits}


def table(sizes: TrainingSizes) -> str:
    """Return every size, a line each."""
    device, traffic, machine = sizes.device, sizes.traffic, sizes.machine
    lines = [
        f"{sizes.classes} classes x {sizes.dim} on {sizes.ranks} device(s), {sizes.sampled} rows "
        f"in a step, batch {sizes.batch} each, {sizes.precision}",
        "",
        "Memory of a device",
        *_rows(
            ("framework", device.framework),
            (f"backbone weights ({sizes.parameters / MILLION:.2f} M)", device.weights),
            ("backbone optimizer state", device.optimizer),
            (f"class centres (storage {sizes.storage})", device.head_rows),
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
        *_rows(("host memory of a rank for class centres", sizes.host)),
        *_rows(("disk of a rank for class centres", sizes.disk)),
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
    ]
    if machine.memory is not None:
        most = "no limit found" if sizes.largest_class_num is None else f"{sizes.largest_class_num}"
        fits = "fits" if sizes.fits else "DOES NOT FIT"
        lines += ["", f"{fits} in {amount(machine.memory)}; largest class count: {most}"]
    return "\n".join(lines)


def _rows(*rows: tuple[str, float]) -> list[str]:
    return [f"  {name:46}{amount(size):>12}" for name, size in rows if size]
