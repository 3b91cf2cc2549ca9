"""A backbone's layers beside an ONNX graph's operations.

An exporter need not keep names, so the layers, in the order in which they run, are laid beside the
operations: each layer takes the next of its kind and shape among those whose predecessors are
taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import paddle
from paddle import nn

from plsc.data.transforms.align import FACE_SHAPE
from plsc.errors import UserError
from plsc.files.onnx_operations import Operation
from plsc.nn.evaluation_mode import evaluating

KINDS: dict[type, str] = {
    nn.Conv2D: "conv",
    nn.Linear: "linear",
    nn.BatchNorm1D: "norm",
    nn.BatchNorm2D: "norm",
    nn.SyncBatchNorm: "norm",
    nn.PReLU: "prelu",
    nn.LayerNorm: "layer_norm",
}
# Which operations of the graph can be a layer of that kind; otherwise those of the same name.
SAME = {"norm": {"norm", "scale"}, "layer_norm": {"layer_norm", "scale"}}
UNCHANGED = (nn.Dropout, nn.Flatten, nn.Identity)
LISTED = 4


@dataclass(frozen=True)
class Step:
    """A layer with weights at its turn in the forward pass.

    Attributes:
        name: in the backbone.
        kind: one of `KINDS`.
        layer: itself.
        input: index of the step whose output comes in unchanged, None if there is none.

    """

    name: str
    kind: str
    layer: nn.Layer
    input: int | None

    @property
    def shape(self) -> list[int]:
        """Return the shape of its weight, the first of its state."""
        return list(next(iter(self.layer.state_dict().values())).shape)


@dataclass
class Match:
    """Operations of a graph, matched with a network's steps.

    Attributes:
        taken: index of a step -> its operation.
        folded_norms: index of a BatchNorm's step -> the operation that it is multiplied into.
        left: operations that no step took.

    """

    taken: dict[int, Operation] = field(default_factory=dict)
    folded_norms: dict[int, Operation] = field(default_factory=dict)
    left: list[Operation] = field(default_factory=list)


def steps_of(backbone: nn.Layer) -> list[Step]:
    """Return the layers that hold weights, in the order in which one forward pass leaves them.

    Raises:
        UserError: one is of a kind that no operation is known for.

    """
    steps: list[Step] = []
    made_by: dict[int, int] = {}  # id of a tensor -> step that made it
    kept: list[Any] = []  # so that no id is used twice

    def watch(name: str, layer: nn.Layer, inputs: Sequence[Any], output: Any) -> None:
        kept.extend((inputs[0], output))
        source = made_by.get(id(inputs[0]))
        kind = next((name for known, name in KINDS.items() if isinstance(layer, known)), None)
        if kind is not None:
            made_by[id(output)] = len(steps)
            steps.append(Step(name, kind, layer, source))
        elif layer.state_dict():
            raise UserError(f"{name} is a {type(layer).__name__}, which plsc cannot read from ONNX")
        elif isinstance(layer, UNCHANGED) and source is not None:
            made_by[id(output)] = source

    leaves = [(name, layer) for name, layer in backbone.named_sublayers() if not layer.sublayers()]
    hooks = [layer.register_forward_post_hook(partial(watch, name)) for name, layer in leaves]
    try:
        with evaluating(backbone), paddle.no_grad():
            backbone(paddle.zeros([1, *FACE_SHAPE]))
    finally:
        for hook in hooks:
            hook.remove()
    return steps


def match_steps(steps: Sequence[Step], operations: Sequence[Operation], path: str) -> Match:
    """Match an operation to each step.

    Raises:
        UserError: a step finds none; the message says what the graph has in its place.

    """
    match = Match()
    place: dict[int, int] = {}  # step -> index of its operation
    left = dict(enumerate(operations))
    # A learned summand is a parameter without a layer of its own: nothing waits for it.
    done = {number for number, item in left.items() if item.kind == "add"}
    for index, step in enumerate(steps):
        before = None if step.input is None else place.get(step.input)
        if step.kind == "norm" and before is not None and not _normalised(operations, before):
            match.folded_norms[index] = operations[before]
            continue
        ready = [number for number, item in left.items() if item.after <= done]
        fitting = [number for number in ready if _fits(step, left[number])]
        if not fitting:
            there = some([str(left[n]) for n in ready if n not in done]) or "its end"
            raise UserError(
                f"{path} does not fit this Model: the graph has no {step.kind} {step.shape} for "
                f"{step.name} there, but {there}"
            )
        behind = [number for number in fitting if left[number].input == before]
        best = (behind if before is not None and behind else fitting)[0]
        place[index] = best
        match.taken[index] = left.pop(best)
        done.add(best)
    match.left = list(left.values())
    return match


def some(names: Sequence[str]) -> str:
    """Return the first of them."""
    return ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")


def _normalised(operations: Sequence[Operation], before: int) -> bool:
    """Tell whether a normalisation takes what the operation `before` gives."""
    return any(item.input == before and item.kind in SAME["norm"] for item in operations)


def _fits(step: Step, operation: Operation) -> bool:
    weight = operation.arrays["weight"]
    if operation.kind not in SAME.get(step.kind, {step.kind}):
        return False
    if step.kind in ("conv", "linear"):
        return list(weight.shape) == step.shape
    return [weight.size] == step.shape
