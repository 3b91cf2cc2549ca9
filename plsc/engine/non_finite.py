"""Find the tensor, and the rank, that stopped being finite first."""

from collections.abc import Mapping

import paddle
from paddle import Tensor

from plsc.distributed import world
from plsc.distributed.collectives import gather_objects
from plsc.errors import UserError

REMEDY = "lower the learning rate or warm up, clip gradients, or look at the images of this batch"


def first_non_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the first of `tensors` with a nan or inf, described; None if there is none."""
    for name, tensor in tensors.items():
        wrong = int((~paddle.isfinite(tensor)).sum().item())
        if wrong:
            return f"{name} ({wrong} of {tensor.size} values are nan or inf)"
    return None


def non_finite_error(step: int, what: str, tensors: Mapping[str, Tensor]) -> UserError:
    """Return the error that stops a run; called by all ranks, says the same on all.

    Args:
        step: number of the optimizer step, from 1.
        what: what was found not to be finite, with its value.
        tensors: this rank's tensors by name, in the order in which a step computes them.

    """
    place = world.current()
    findings = gather_objects((place.rank, place.host, first_non_finite(tensors)))
    where = "; ".join(
        f"rank {rank} on {host}: {finding}" for rank, host, finding in findings if finding
    )
    return UserError(f"step {step}: {what}; {where or 'all inputs are finite'}; {REMEDY}")
