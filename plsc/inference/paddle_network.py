"""Checkpoints of plsc and Paddle inference models, run by Paddle, which is imported here only."""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.config import yaml_tree
from plsc.config.plugins import import_plugins
from plsc.config.registry import UnknownPart
from plsc.errors import UserError, first_line
from plsc.inference.network import Floats, InputSpec, Network, digest_of
from plsc.nn import environment as runtime

DEVICES = {"cpu": "cpu", "cuda": "gpu"}
SIZE = (112, 112)  # that plsc's backbones and exports take


def open_checkpoint(path: str, provider: str) -> Network:
    """The backbone in a checkpoint folder, built as its own config says.

    Raises:
        UserError: Paddle or the device is missing, or the checkpoint is not whole.

    """
    start_paddle(provider)
    from plsc.checkpoint import folder as checkpoint
    from plsc.checkpoint.plugins import unknown_in_checkpoint
    from plsc.recognition.description import config_of, metadata
    from plsc.recognition.parts import build_network
    from plsc.weights.pretrained import set_backbone

    saved = checkpoint.Checkpoint(Path(path))
    config = config_of(saved.state, path)
    if config is None or config.Model is None:
        raise UserError(f"{path}: its state.json does not say which backbone it is of")
    component = config.Model.backbone
    if "data_format" in component.params:  # the weights are the same, and CPUs know NCHW best
        component = replace(component, params={**component.params, "data_format": "NCHW"})
    try:
        backbone = build_network(component)
    except UnknownPart as error:
        raise unknown_in_checkpoint(error, path, _option) from error
    set_backbone(backbone, saved.network(), source=path)
    backbone.eval()
    said = metadata(saved.state, None, num_features=backbone.num_features, source=path)
    model = json.dumps({"name": component.name, **component.params}, sort_keys=True, default=str)
    return Network(
        path=path,
        kind="checkpoint",
        run=runner(backbone),
        input=InputSpec(size=SIZE),
        metadata=said,
        thresholds=said.get("thresholds", ""),
        quality=said.get("quality", ""),
        takes_pixels="",
        digest=digest_of([Path(path) / checkpoint.BACKBONE], also=model),
    )


def open_paddle(stem: Path, provider: str) -> Network:
    """The Paddle inference model `<stem>.json`, `<stem>.pdiparams`; `<stem>.yml` describes it.

    Raises:
        UserError: Paddle or the device is missing, or the files are damaged.

    """
    start_paddle(provider)
    import paddle

    program, parameters, notes = (
        stem.with_name(stem.name + suffix) for suffix in (".json", ".pdiparams", ".yml")
    )
    # Paddle refuses a stem beside a folder of the same name, where a run's checkpoints are.
    with tempfile.TemporaryDirectory() as folder:
        for file in (program, parameters):
            (Path(folder) / f"model{file.suffix}").symlink_to(file.resolve())
        try:
            layer = paddle.jit.load(f"{folder}/model")
        except Exception as error:  # Paddle raises whatever its parser of the day does
            said = first_line(error)
            raise UserError(f"{program}: cannot be loaded by Paddle: {said}") from None
    layer.eval()
    described = yaml_tree.read(notes) if notes.is_file() else {}
    return Network(
        path=str(stem),
        kind="paddle",
        run=runner(layer),
        input=InputSpec(size=SIZE if "plsc_version" in described else None),
        metadata={name: str(value) for name, value in described.items()},
        thresholds=str(described.get("thresholds", "")),
        quality=str(described.get("quality", "")),
        takes_pixels="",
        digest=digest_of([program, parameters]),
    )


def start_paddle(provider: str) -> None:
    """Import Paddle, fast on this CPU unless it is there already, and choose its device.

    Raises:
        UserError: Paddle or the device is missing.

    """
    name = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}.get(provider, provider)
    if name not in DEVICES:
        raise UserError(f"provider {provider}: Paddle runs this model on cpu or cuda")
    _import_paddle()
    import paddle

    if name == "cuda" and not (
        paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count()
    ):
        raise UserError("provider cuda: this Paddle sees no GPU, or is built for CPU only: use cpu")
    paddle.set_device(DEVICES[name])


def _option(plugins: list[str]) -> str:
    options = " ".join(f"--plugins {name}" for name in plugins)
    return f"{options}, in Python with plugins={plugins}"


def start_plugins(modules: Sequence[str], key: str) -> None:
    """Import plug-ins, and before them Paddle, which most of them import.

    Raises:
        UserError: Paddle is missing, or a plug-in cannot be imported; names `key`.

    """
    _import_paddle()
    import_plugins(modules, key)


def _import_paddle() -> None:
    if "paddle" not in sys.modules:
        runtime.prepare(local_size=1)
        runtime.import_paddle()


def runner(layer: Any) -> Callable[[NDArray[Any]], Floats]:
    """Images as Paddle's `layer` takes them -> embeddings float32 [b, d]."""
    import paddle

    def run(images: NDArray[np.float32]) -> Floats:
        with paddle.no_grad():
            embeddings: Floats = layer(paddle.to_tensor(images)).numpy()
        return embeddings

    return run
