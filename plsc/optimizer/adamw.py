"""Adam with decoupled weight decay."""

from typing import Annotated

import paddle
from paddle import Tensor

from plsc.config.registry import OPTIMIZERS
from plsc.config.schema import Range
from plsc.optimizer import kernels

Beta = Annotated[float, Range(0, 1, high_open=True)]


@OPTIMIZERS.register
class AdamW:
    """p ← p·(1 − lr·wd), then Adam's step (arXiv:1711.05101).

    m ← β1·m + (1−β1)·g;  v ← β2·v + (1−β2)·g²;  p ← p − lr·m̂ / (√v̂ + eps), where m̂ and v̂ are
    corrected by the number of optimizer steps, also for rows that were sampled less often.
    """

    state_names = ("moment1", "moment2")

    def __init__(
        self,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Annotated[float, Range(0, low_open=True)] = 1e-8,
        weight_decay: Annotated[float, Range(0)] = 0.01,
    ):
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

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
        moment1, moment2, (beta1, beta2) = state["moment1"], state["moment2"], self.betas
        wd = self.weight_decay if decay else 0.0
        if kernels.adamw(
            weight,
            gradient,
            moment1,
            moment2,
            factor=factor,
            betas=self.betas,
            eps=self.eps,
            decay=wd,
            lr=lr,
            step=step,
        ):
            return
        if factor != 1.0:
            gradient = gradient * factor
        if wd:
            weight.scale_(1.0 - lr * wd)
        moment1.scale_(beta1)
        moment1.add_(gradient * (1.0 - beta1))
        moment2.scale_(beta2)
        # New memory costs Paddle ten times what arithmetic in place does on a CPU: few temporaries.
        moment2.add_(paddle.square(gradient).scale_(1.0 - beta2))
        change = (moment2 / (1.0 - beta2**step)).sqrt_().scale_(1.0, self.eps).reciprocal_()
        weight.subtract_(change.multiply_(moment1).scale_(lr / (1.0 - beta1**step)))
