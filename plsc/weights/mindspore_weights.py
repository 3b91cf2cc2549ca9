"""Checkpoints of MindSpore in the names of our networks.

MindSpore calls a BatchNorm's scale, shift and statistics otherwise, and a network may have been
written with other names of its parts: it tells them itself, see `mindspore_parts` and
`mindspore_unused` below. A checkpoint of a training run puts a wrapper's name before all
parameters and holds the optimizer's state beside them.
"""

from collections.abc import Mapping

import numpy as np
from paddle import nn

from plsc.files.mindspore_file import load_mindspore
from plsc.weights.torch_weights import prefix_of
from plsc.weights.weights import Weights, batch_norms

NORM = {"weight": "gamma", "bias": "beta", "_mean": "moving_mean", "_variance": "moving_variance"}
# The first part of the names under which MindSpore's optimizers and callbacks keep their state.
TRAINING_STATE = {
    "accum", "stat", "moments", "moment1", "moment2", "momentum", "learning_rate", "global_step",
    "beta1_power", "beta2_power", "epoch_num", "step_num", "loss_scale", "scale_sense",
    "current_iterator_step", "last_overflow_iterator_step",
}  # fmt: skip


def mindspore_weights(path: str, network: nn.Layer) -> Weights:
    """Return the weights of `network` in a checkpoint that MindSpore wrote to `path`.

    What the file has not, or has too much, stays so: setting the weights tells.

    Raises:
        UserError: the file is damaged.

    """
    tensors = load_mindspore(path)
    names = mindspore_names(network)
    prefix = prefix_of(tensors, list(names.values()))
    inside, state = {}, []
    for name, tensor in tensors.items():
        if name.startswith(prefix) and (prefix or name.split(".")[0] not in TRAINING_STATE):
            inside[name.removeprefix(prefix)] = tensor
        else:
            state.append(name)
    transposed = {f"{name}.weight" for name, layer in network.named_sublayers()
                  if isinstance(layer, nn.Linear)}  # fmt: skip
    arrays: dict[str, np.ndarray] = {}
    for ours, theirs in names.items():
        if theirs in inside:
            array = inside.pop(theirs).array()
            arrays[ours] = array.T if ours in transposed and array.ndim == 2 else array
    unused = tuple(getattr(network, "mindspore_unused", ()))
    left = sorted(name for name in inside if name.startswith(unused)) if unused else []
    arrays |= {name: tensor.array() for name, tensor in inside.items() if name not in left}
    notes = []
    if left:
        notes.append(f"{len(left)} tensors that this network does not use stay unread: {left[0]}")
    if state:
        notes.append(f"{len(state)} tensors of the training stay unread: {sorted(state)[0]}, …")
    return Weights(path, arrays, notes=tuple(notes))


def mindspore_names(network: nn.Layer) -> dict[str, str]:
    """Return MindSpore's name for each of our state-dict keys.

    A network whose parts have other names there has an attribute `mindspore_parts`: part of our
    keys, between dots -> part of MindSpore's.
    """
    parts: Mapping[str, str] = getattr(network, "mindspore_parts", {})
    norms = set(batch_norms(network))
    names = {}
    for key in network.state_dict():
        parent, dot, last = key.rpartition(".")
        renamed = ".".join(parts.get(part, part) for part in parent.split("."))
        names[key] = renamed + dot + (NORM[last] if parent in norms else last)
    return names
