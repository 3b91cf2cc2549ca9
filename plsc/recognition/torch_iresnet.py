"""An IResNet built from a state dict of torch alone: its keys tell depth, size and origin."""

import re
from collections.abc import Mapping

from plsc.data.transforms.align import FACE_SIZE
from plsc.errors import UserError
from plsc.files.torch_file import load_torch
from plsc.files.torch_tensors import TorchTensor
from plsc.recognition.models.iresnet import (
    FLAT,
    IResNet18,
    IResNet34,
    IResNet50,
    IResNet100,
    IResNet200,
)
from plsc.weights.pretrained import take_weights
from plsc.weights.torch_weights import MAGFACE_EPSILON, MAGFACE_PREFIXES, state_dict_in
from plsc.weights.weights import NetworkInFile

NETWORKS = (IResNet18, IResNet34, IResNet50, IResNet100, IResNet200)
TORCH_EPSILON = 1e-5  # of a BatchNorm that names none, as in arcface_torch
BLOCK = re.compile(r"(|.+\.)layer([1-4])\.(\d{1,3})\.conv1\.weight")


def torch_iresnet(path: str) -> NetworkInFile:
    """Return the network whose state dict torch.save wrote to `path`.

    Raises:
        UserError: the file is damaged, holds no state dict, or one of another network.

    """
    tensors = state_dict_in(load_torch(path), path)
    prefix, depths = _blocks(tensors)
    shape = _shape(tensors, f"{prefix}fc.weight")
    if not depths or shape[1:] != (FLAT,) or len(_shape(tensors, f"{prefix}features.weight")) != 1:
        raise UserError(
            f"{path}: not an IResNet (its keys begin with {next(iter(tensors))!r}): name its "
            f"network in a config and take the file with -o Global.pretrained_model={path}"
        )
    network = next((item for item in NETWORKS if item.depths == depths), None)
    if network is None:
        known = ", ".join(f"{item.__name__}: {item.depths}" for item in NETWORKS)
        raise UserError(f"{path}: an IResNet of {depths} blocks, which plsc has not ({known})")
    epsilon = MAGFACE_EPSILON if prefix in MAGFACE_PREFIXES else TORCH_EPSILON
    backbone = network(shape[0], bn_epsilon=epsilon)
    weights = take_weights(path, backbone)
    backbone.eval()
    name, features = network.__name__, backbone.num_features
    built = f"network: {name} of {features} features, as its blocks and shapes tell"
    return NetworkInFile(
        network=backbone,
        size=(FACE_SIZE, FACE_SIZE),
        identity=f"{name} {prefix}",
        trained_on=weights.trained_on,
        said_by=f"deduced from key names: {prefix}* is MagFace's",
        notes=(built, *weights.notes),
    )


def _blocks(tensors: Mapping[str, TorchTensor]) -> tuple[str, tuple[int, ...]]:
    """Return what stands before the first network's keys, and the number of blocks by stage."""
    found = [match for match in map(BLOCK.fullmatch, tensors) if match]
    if not found:
        return "", ()
    prefix = found[0][1]
    stages = [match[2] for match in found if match[1] == prefix]
    return prefix, tuple(stages.count(stage) for stage in "1234")


def _shape(tensors: Mapping[str, TorchTensor], key: str) -> tuple[int, ...]:
    return tensors[key].shape if key in tensors else ()
