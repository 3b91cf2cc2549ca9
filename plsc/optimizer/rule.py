"""What an optimizer is to those that use one."""

from typing import Protocol

from paddle import Tensor


class UpdateRule(Protocol):
    """What an optimizer is: a rule for one tensor, or for rows of one."""

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
        """Change weight and state in place; the gradient counts `factor` times."""


class RowUpdate(Protocol):
    """An optimizer step on some rows, in place: weight [n, d], its gradient, its state by name."""

    def __call__(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
        """Change weight and state."""
