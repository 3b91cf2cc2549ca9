"""A layer in evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from paddle import nn


@contextmanager
def evaluating(network: nn.Layer) -> Iterator[None]:
    """Put `network` into evaluation mode; afterwards each of its layers has its own mode back."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
