"""Peak memory of a backbone's forward and backward pass, from its trace."""

from collections.abc import Iterator
from dataclasses import dataclass

from plsc.config.sections import RecomputeConfig
from plsc.recognition.plan.trace import FLOAT, HALF, LayerTrace, Trace


@dataclass(frozen=True)
class Passes:
    """Bytes of one micro-batch beside weights, optimizer state and head.

    Attributes:
        kept: activations that are held when the forward pass ends.
        backward: the highest sum of activations, gradients of weights, and maps and their
            gradients that are being computed, in the backward pass.
        repeated: multiply-adds of an image that the backward pass does again.

    """

    kept: int
    backward: int
    repeated: int


def recomputed(trace: Trace, recompute: RecomputeConfig | None) -> tuple[str, ...]:
    """Paths of the outermost layers that are done again in backward."""
    if recompute is None:
        return ()
    chosen: set[str] = set()
    for path, length in trace.lists.items():
        chosen.update(f"{path}.{i}" for i in range(0, length, recompute.layerlist_interval))
    for name in recompute.names:
        chosen.update(f"{name}.{i}" for i in range(trace.lists.get(name, 0)))
        if name not in trace.lists:
            chosen.add(name)
    return tuple(p for p in chosen if not any(p.startswith(f"{other}.") for other in chosen))


def passes(
    trace: Trace, *, batch: int, half: bool, recompute: RecomputeConfig | None = None
) -> Passes:
    """What forward and backward of `batch` images hold at their fullest."""
    chosen = recomputed(trace, recompute)
    pieces = [_piece(trace, group, inner, half=half) for group, inner in _runs(trace, chosen)]
    held = sum(piece.held for piece in pieces)
    peak, gradients = 0, 0
    live = held
    for piece in reversed(pieces):
        now = (live + piece.redone + piece.moving) * batch + gradients + piece.parameters
        peak = max(peak, now)
        gradients += piece.parameters
        live -= piece.held
    again = [sum(x.multiply_adds for x in inner) for group, inner in _runs(trace, chosen) if group]
    return Passes(held * batch, peak, sum(again))


@dataclass(frozen=True)
class _Piece:
    """A layer, or a group that is redone: bytes of an image, and of its weights' gradients."""

    held: int
    redone: int
    moving: int
    parameters: int


def _runs(trace: Trace, chosen: tuple[str, ...]) -> Iterator[tuple[str, list[LayerTrace]]]:
    """Layers one by one with "", those of a recomputed group together with its path."""
    group, inner = "", list[LayerTrace]()
    for layer in trace.layers:
        of = next((c for c in chosen if layer.path == c or layer.path.startswith(f"{c}.")), "")
        if inner and of != group:
            yield group, inner
            inner = []
        if of:
            inner.append(layer)
        else:
            yield "", [layer]
        group = of
    if inner:
        yield group, inner


def _piece(trace: Trace, group: str, inner: list[LayerTrace], *, half: bool) -> _Piece:
    kept = sum(layer.kept_half if half else layer.kept for layer in inner)
    # The gradients of a layer's output and of its input are there at once; within attention, those
    # of the weights before and after softmax.
    width = HALF if half else FLOAT
    moving = width * max(max(x.numbers_in + x.numbers_out, 2 * x.largest) for x in inner)
    parameters = FLOAT * sum(layer.parameters for layer in inner)
    if group:
        return _Piece(trace.groups[group][1 if half else 0], kept, moving, parameters)
    return _Piece(kept, 0, moving, parameters)
