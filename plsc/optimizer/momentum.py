"""SGD with momentum."""

from typing import Annotated

from paddle import Tensor

from plsc.registry import OPTIMIZERS
from plsc.schema import Range


@OPTIMIZERS.register
class Momentum:
    """g' = g + wd·p;  v ← μ·v + g';  p ← p − lr·v  (PLSC's: L2 decay, no Nesterov, no dampening).

    The same rule serves whole tensors and rows taken from a larger one; on rows it is PLSC's lazy
    momentum: what is not sampled is not touched, neither by momentum nor by decay.
    """

    state_names = ("velocity",)

    def __init__(
        self,
        momentum: Annotated[float, Range(0, 1, high_open=True)] = 0.9,
        weight_decay: Annotated[float, Range(0)] = 0.0,
    ):
        self.momentum, self.weight_decay = momentum, weight_decay

    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: dict[str, Tensor],
        *,
        lr: float,
        step: int,
        decay: bool = True,
    ) -> None:
        """Change `weight` and `state` in place; `step` counts from 1; `decay` False: none."""
        velocity = state["velocity"]
        velocity.scale_(self.momentum)
        velocity.add_(gradient)
        if decay and self.weight_decay:
            velocity.add_(weight * self.weight_decay)
        weight.subtract_(velocity * lr)
