"""The replicated parameters that training changes, and their optimizer state."""

from collections.abc import Collection

import numpy as np
import paddle
from paddle import Tensor, nn


class DenseParameters:
    """Trainable parameters of `layer` by state-dict key, each with its optimizer state.

    Parameters with stop_gradient and those named in `frozen` are left out: they are neither
    updated nor part of any norm, though the latter do receive gradients.
    """

    def __init__(self, layer: nn.Layer, *, state_names: Collection[str], frozen: Collection[str]):
        self.weights: dict[str, Tensor] = {
            name: parameter
            for name, parameter in layer.named_parameters()
            if not parameter.stop_gradient and name not in frozen
        }
        self.state: dict[str, dict[str, Tensor]] = {
            name: {key: paddle.zeros_like(weight).detach() for key in state_names}
            for name, weight in self.weights.items()
        }
        self._all = list(layer.parameters())

    def gradients(self) -> dict[str, Tensor]:
        """Gradients by state-dict key; parameters that took no part in the step are absent."""
        return {
            name: weight.grad for name, weight in self.weights.items() if weight.grad is not None
        }

    def clear_gradients(self) -> None:
        """Forget all gradients, those of frozen parameters too."""
        for parameter in self._all:
            parameter.clear_gradient(False)  # set_to_zero; Paddle ignores it as a keyword

    def state_arrays(self) -> dict[str, np.ndarray]:
        """`<state name>/<state-dict key>` -> array, for a checkpoint."""
        return {
            f"{key}/{name}": tensor.numpy()
            for name, tensors in self.state.items()
            for key, tensor in tensors.items()
        }

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> list[str]:
        """Take over what `state_arrays` gave; returns the names that have no array."""
        missing = []
        for name, tensors in self.state.items():
            for key, tensor in tensors.items():
                values = arrays.get(f"{key}/{name}")
                if values is None or list(values.shape) != tensor.shape:
                    missing.append(f"{key}/{name}")
                else:
                    tensor.set_value(values)
        return missing
