"""The interface of an optimizer."""

from typing import Protocol

from paddle import Tensor


class UpdateRule(Protocol):
    """An optimizer: a rule for one tensor, or for rows of one."""

    state_names: tuple[str, ...]

    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: dict[str, Tensor],
        *,
        lr: float,
        step: int,
        decay: bool = True,
        factor: float = 1.0,
    ) -> None:
        """Change `weight` and `state` in place.

        Args:
            weight: the parameter, or rows of it.
            gradient: left as it is.
            state: tensors of weight's shape, by the names of `state_names`.
            lr: learning rate.
            step: from 1.
            decay: False for no weight decay.
            factor: the gradient counts so many times: clipping, loss scale.

        """


class RowUpdate(Protocol):
    """An optimizer step on some rows, in place: weight [n, d], its gradient, its state by name."""

    def __call__(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
        """Change weight and state."""
