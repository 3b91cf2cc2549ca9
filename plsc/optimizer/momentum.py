"""SGD with momentum."""

from typing import Annotated

from paddle import Tensor

from plsc.config.registry import OPTIMIZERS
from plsc.config.schema import Range
from plsc.optimizer import kernels


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
        factor: float = 1.0,
    ) -> None:
        """See UpdateRule."""
        velocity, wd = state["velocity"], self.weight_decay if decay else 0.0
        if kernels.momentum(
            weight, gradient, velocity, factor=factor, mu=self.momentum, decay=wd, lr=lr
        ):
            return
        velocity.scale_(self.momentum)
        velocity.add_(gradient if factor == 1.0 else gradient * factor)
        if wd:
            velocity.add_(weight * wd)
        weight.subtract_(velocity * lr)
