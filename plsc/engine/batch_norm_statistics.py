"""Statistics for BatchNorms that an exporter multiplied into the layers before them.

Of such a BatchNorm only a shift is left. That is exact in evaluation mode, but in training mode it
divides by the batch's deviation, and the scale that should follow is gone: another network. The
scale can be had again: when mean and variance of what comes in are known, a BatchNorm with these,
and the deviation for its scale, gives the same output in both modes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import paddle
from paddle import nn

from plsc.distributed import world
from plsc.distributed.collectives import gather
from plsc.engine.log import RunLog
from plsc.nn.evaluation_mode import evaluating
from plsc.nn.layers import frozen_names
from plsc.weights.weights import batch_norms, epsilon_of

NUM_IMAGES = 512  # over all ranks; each gives 49 values or more to a channel of a convolution


@dataclass
class Moments:
    """Mean and variance of values that come in batches of one size, [channels] each."""

    count: int = 0
    mean: np.ndarray | float = 0.0
    variance: np.ndarray | float = 0.0

    def add(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Take in another batch."""
        self.count += 1
        difference = mean - self.mean
        step = 1 / self.count
        self.mean = self.mean + difference * step
        self.variance += (variance - self.variance) * step + difference**2 * step * (1 - step)


@paddle.no_grad()
def measure_norms(
    network: nn.Layer, names: Sequence[str], inputs: Iterator[paddle.Tensor], log: RunLog
) -> None:
    """Give these BatchNorms the statistics of training images; the outputs stay as they are.

    All ranks together, in evaluation mode, over the first batches.

    Args:
        network: whose BatchNorms these are.
        names: of the BatchNorms.
        inputs: batches of this rank, as the network takes them.
        log: hears how many images were used.

    """
    norms = {name: norm for name, norm in batch_norms(network).items() if name in names}
    found = {name: Moments() for name in norms}
    last = getattr(network, "data_format", "NCHW") == "NHWC"

    def watch(name: str, norm: nn.Layer, given: Sequence[paddle.Tensor]) -> None:
        values = given[0].astype("float32")
        channel = values.ndim - 1 if last and values.shape[-1] == norm.weight.shape[0] else 1
        axes = [axis for axis in range(values.ndim) if axis != channel]
        mean = values.mean(axis=axes, keepdim=True)
        variance = (values - mean).square().mean(axis=axes)
        both = gather(paddle.stack([mean.flatten(), variance]).unsqueeze(0)).numpy()
        for rank_mean, rank_variance in both.astype(np.float64):
            found[name].add(rank_mean, rank_variance)

    hooks = [norm.register_forward_pre_hook(partial(watch, name)) for name, norm in norms.items()]
    num_images = 0
    with evaluating(network):
        for images in inputs:
            network(images)
            num_images += len(images) * world.current().size
            if num_images >= NUM_IMAGES:
                break
    for hook in hooks:
        hook.remove()
    fixed = frozen_names(network)
    for name, norm in norms.items():
        _set_statistics(norm, found[name], fixed=f"{name}.weight" in fixed)
    log.line(f"statistics of {len(norms)} BatchNorms measured on {num_images} images")


def _set_statistics(norm: nn.Layer, found: Moments, *, fixed: bool) -> None:
    """Give a BatchNorm these statistics and the same function; a fixed scale keeps its variance."""
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in norm.state_dict().items()}
    before = np.sqrt(state["_variance"] + epsilon_of(norm))
    slope = state["weight"] / before
    if not fixed:
        state["_variance"] = np.asarray(found.variance)
        state["weight"] = slope * np.sqrt(state["_variance"] + epsilon_of(norm))
    state["bias"] = state["bias"] + slope * (found.mean - state["_mean"])
    state["_mean"] = np.asarray(found.mean)
    for name, tensor in norm.state_dict().items():
        tensor.set_value(state[name].astype(np.float32))
