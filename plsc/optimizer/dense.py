"""The replicated parameters that training changes, and their optimizer state."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from plsc.optimizer import kernels
from plsc.optimizer.rule import UpdateRule


@dataclass(frozen=True)
class Unit:
    """A parameter, or several that are treated alike, to which a rule is applied at once.

    Attributes:
        names: state-dict keys of the parameters; all of them are clipped or none, and decay or not.
        weight: of any shape; changed in place.
        gradient: of the same shape.
        state: of the optimizer, by its names, likewise.

    """

    names: Sequence[str]
    weight: Tensor
    gradient: Tensor
    state: dict[str, Tensor]

    def square(self) -> Tensor | float:
        """Return ‖g‖²: a number where a kernel has it at once, else a tensor for the device.

        Where each parameter's own is wanted, the tensor has several values: see `squares`.
        """
        # paddle.dot and paddle.linalg.norm add up in sequence on CPU and lose 2 % over ten million
        # float32 values; sum() does not.
        found = kernels.squared_norm(self.gradient)
        return paddle.square(self.gradient).sum() if found is None else found

    def squares(self, read: Any) -> dict[str, float]:
        """Return ‖g‖² by name from what the host has `read` of `square`.

        Several parameters have theirs together, under the name of the first, unless each one's own
        is wanted.
        """
        return {self.names[0]: float(read)}

    def update(
        self,
        rule: UpdateRule,
        *,
        lr: float,
        step: int,
        decay: bool,
        factors: Sequence[float],
        limits: tuple[float, float] | None = None,
    ) -> None:
        """Apply `rule`, see UpdateRule, with a factor for each name of `squares`.

        Values of the gradient are kept within `limits`, before they are multiplied.
        """
        gradient, factor = self._scaled(factors)
        if limits is not None:
            gradient = gradient.clip(*limits)
        rule.update(self.weight, gradient, self.state, lr=lr, step=step, decay=decay, factor=factor)

    def _scaled(self, factors: Sequence[float]) -> tuple[Tensor, float]:
        """Return a gradient and the factor that is still to be applied to it."""
        (factor,) = factors
        return self.gradient, factor


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
        self._all = list(layer.parameters())
        self.state = self._made_state(tuple(state_names))

    def _made_state(self, state_names: tuple[str, ...]) -> dict[str, dict[str, Tensor]]:
        return {
            name: {key: paddle.zeros_like(weight).detach() for key in state_names}
            for name, weight in self.weights.items()
        }

    def gradients(self) -> dict[str, Tensor]:
        """Return gradients by state-dict key; parameters that took no part are absent."""
        return {
            name: weight.grad for name, weight in self.weights.items() if weight.grad is not None
        }

    def units(self) -> list[Unit]:
        """Return what the step's gradients change, a unit for each parameter that has one."""
        return [
            Unit((name,), self.weights[name], gradient, self.state[name])
            for name, gradient in self.gradients().items()
        ]

    def publish(self) -> None:
        """Give the network what the units have become; they are its own tensors here."""

    def clear_gradients(self) -> None:
        """Forget all gradients, those of frozen parameters too."""
        for parameter in self._all:
            parameter.clear_gradient(False)  # set_to_zero; Paddle ignores it as a keyword

    def state_arrays(self) -> dict[str, np.ndarray]:
        """Return `<state name>/<state-dict key>` -> array, for a checkpoint."""
        return {
            f"{key}/{name}": tensor.numpy()
            for name, tensors in self.state.items()
            for key, tensor in tensors.items()
        }

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> list[str]:
        """Take over what `state_arrays` gave; return the names that have no array."""
        missing = []
        for name, tensors in self.state.items():
            for key, tensor in tensors.items():
                values = arrays.get(f"{key}/{name}")
                if values is None or list(values.shape) != tensor.shape:
                    missing.append(f"{key}/{name}")
                else:
                    tensor.set_value(values)
        return missing
