"""Choose how the replicated parameters are held while they are trained."""

from collections.abc import Collection, Sequence

from paddle import nn

from plsc.nn.device import on_cpu
from plsc.nn.kernels.compiled import wanted
from plsc.optimizer.clip import GradClip, clips, named
from plsc.optimizer.dense import DenseParameters
from plsc.optimizer.flat import FlatParameters


def trained_parameters(
    network: nn.Layer,
    *,
    frozen: Collection[str],
    state_names: Sequence[str],
    clip: GradClip | None,
    no_weight_decay: Sequence[str],
) -> DenseParameters:
    """Return what is updated: tensor by tensor where a CPU's kernels do it, else as one vector."""
    if on_cpu() and wanted():
        return DenseParameters(network, state_names=state_names, frozen=frozen)

    def kind_of(name: str) -> tuple[bool, bool]:
        return clips(clip, name), not named((name,), no_weight_decay)

    return FlatParameters(
        network,
        state_names=state_names,
        frozen=frozen,
        kind_of=kind_of,
        by_tensor=clip is not None and clip.by_tensor,
    )
