"""Adam with decoupled weight decay."""

from typing import Annotated

import paddle
from paddle import Tensor

from plsc.registry import OPTIMIZERS
from plsc.schema import Range

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
    ) -> None:
        """Change `weight` and `state` in place; `step` counts from 1; `decay` False: none."""
        beta1, beta2 = self.betas
        moment1, moment2 = state["moment1"], state["moment2"]
        if decay and self.weight_decay:
            weight.scale_(1.0 - lr * self.weight_decay)
        moment1.scale_(beta1)
        moment1.add_(gradient * (1.0 - beta1))
        moment2.scale_(beta2)
        moment2.add_(gradient * gradient * (1.0 - beta2))
        denominator = paddle.sqrt(moment2 / (1.0 - beta2**step)) + self.eps
        weight.subtract_(moment1 / denominator * (lr / (1.0 - beta1**step)))
