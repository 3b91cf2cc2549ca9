"""State dicts that torch.save wrote of an IResNet: run by Paddle, read without torch."""

from pathlib import Path

from plsc.inference.network import InputSpec, Network, digest_of
from plsc.inference.paddle_network import SIZE, runner, start_paddle

SUFFIXES = (".pth", ".pt")


def open_torch(path: str, provider: str) -> Network:
    """The IResNet in `path`: of arcface_torch, or MagFace's with what that was trained on.

    Raises:
        UserError: Paddle or the device is missing, the file is damaged, or holds something else.

    """
    start_paddle(provider)
    from plsc.recognition.description import pixel_metadata
    from plsc.recognition.torch_iresnet import torch_iresnet

    found = torch_iresnet(path)
    name, size = type(found.backbone).__name__, found.backbone.num_features
    network = f"network: {name} of {size} features, as its blocks and shapes tell"
    return Network(
        path=path,
        kind="torch",
        run=runner(found.backbone),
        input=InputSpec(size=SIZE),
        metadata=pixel_metadata(found.trained_on) if found.trained_on else {},
        thresholds="",
        quality="",
        takes_pixels="",
        digest=digest_of([Path(path)], also=f"{name} {found.prefix}"),
        said_by=f"deduced from key names: {found.prefix}* is MagFace's",
        notes=(network, *found.notes),
    )
