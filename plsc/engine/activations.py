"""Compute the peak memory of a network's forward and backward pass from its trace."""

from collections.abc import Iterator
from dataclasses import dataclass

from plsc.config.sections import RecomputeConfig
from plsc.distributed.recompute import recomputed_layers
from plsc.engine.network_trace import FLOAT, HALF, LayerTrace, NetworkTrace


@dataclass(frozen=True)
class ActivationMemory:
    """Bytes of one micro-batch beside weights, optimizer state and what the task holds.

    Attributes:
        kept: activations that are held when the forward pass ends.
        backward: the highest sum of activations, gradients of weights, and maps and their
            gradients that are being computed, in the backward pass.

    """

    kept: int
    backward: int


def activation_memory(
    trace: NetworkTrace, *, batch: int, half: bool, recompute: RecomputeConfig | None = None
) -> ActivationMemory:
    """Return what forward and backward of `batch` samples hold at their fullest."""
    chosen: list[str] = []
    if recompute is not None:
        chosen = recomputed_layers(trace.lists, recompute.layerlist_interval, recompute.names)
    segments = [_segment(trace, group, inner, half=half) for group, inner in _runs(trace, chosen)]
    held = sum(segment.held for segment in segments)
    peak, gradients = 0, 0
    live = held
    for segment in reversed(segments):
        now = (live + segment.redone + segment.moving) * batch + gradients + segment.parameters
        peak = max(peak, now)
        gradients += segment.parameters
        live -= segment.held
    return ActivationMemory(held * batch, peak)


def frozen_memory(trace: NetworkTrace, *, batch: int, half: bool) -> ActivationMemory:
    """Return what the forward pass of a network holds that is not trained: one layer's maps."""
    width = HALF if half else FLOAT
    moving = max((x.numbers_in + x.numbers_out for x in trace.layers), default=0)
    return ActivationMemory(0, moving * width * batch)


@dataclass(frozen=True)
class _Segment:
    """A layer, or a group that is redone: bytes of a sample, and of its weights' gradients."""

    held: int
    redone: int
    moving: int
    parameters: int


def _runs(trace: NetworkTrace, chosen: list[str]) -> Iterator[tuple[str, list[LayerTrace]]]:
    """Yield layers one by one with "", those of a recomputed group together with its path."""
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


def _segment(trace: NetworkTrace, group: str, inner: list[LayerTrace], *, half: bool) -> _Segment:
    kept = sum(layer.kept_half if half else layer.kept for layer in inner)
    # The gradients of a layer's output and of its input are there at once; within attention, those
    # of the weights before and after softmax.
    width = HALF if half else FLOAT
    moving = width * max(max(x.numbers_in + x.numbers_out, 2 * x.largest) for x in inner)
    parameters = FLOAT * sum(layer.parameters for layer in inner)
    if group:
        return _Segment(trace.groups[group][1 if half else 0], kept, moving, parameters)
    return _Segment(kept, 0, moving, parameters)
