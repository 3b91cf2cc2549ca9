"""Checkpoints of plsc and Paddle inference models, run by Paddle, which is imported here only."""

import json
import re
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
from plsc.config.registry import TASKS, UnknownPart
from plsc.errors import UserError, first_line
from plsc.export.spec import ExportSpec
from plsc.inference.network import Floats, InputSpec, Network, digest_of
from plsc.nn import environment as runtime

DEVICES = {"cpu": "cpu", "cuda": "gpu"}
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")  # width x height, as plsc's exports say it


def open_checkpoint(path: str, provider: str) -> Network:
    """Return the network in a checkpoint folder, built by the task and the config that it names.

    Raises:
        UserError: Paddle or the device is missing, the checkpoint is not whole, its network is
            unknown here, or it does not embed images.

    """
    start_paddle(provider)
    from plsc.checkpoint.folder import BACKBONE, Checkpoint
    from plsc.checkpoint.saved_config import config_of, unknown_in_checkpoint
    from plsc.weights.pretrained import set_backbone

    saved = Checkpoint(Path(path))
    try:
        config = config_of(saved.state, path)
        if config is None or config.Model is None:
            raise UserError(f"{path}: its state.json does not say which backbone it is of")
        task = TASKS.get(config.Global.task_type, "Global.task_type")()
        config = task.for_export(replace(config, Export=type(config.Export)()))
        network = task.network(config)
    except UnknownPart as error:
        raise unknown_in_checkpoint(error, path, _option) from error
    set_backbone(network, saved.network(), source=path)
    network.eval()
    spec = task.export_spec(config, network, saved.state, path)
    built = {"name": config.Model.name, **getattr(config.Model, "params", {})}
    return Network(
        path=path,
        kind="checkpoint",
        run=runner(network),
        input=_images_taken(spec, path),
        digest=digest_of(
            [Path(path) / BACKBONE], also=json.dumps(built, sort_keys=True, default=str)
        ),
        metadata=spec.metadata,
    )


def _images_taken(spec: ExportSpec, path: str) -> InputSpec:
    shapes = [given.shape for given in spec.inputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or len(spec.outputs) != 1:
        raise UserError(f"{path}: its network does not embed images: {spec.described()}")
    height, width = shapes[0][2:]
    return InputSpec(size=None if height is None or width is None else (width, height))


def open_paddle(stem: Path, provider: str) -> Network:
    """Return the Paddle inference model at `<stem>.json`, which `<stem>.yml` describes.

    Raises:
        UserError: Paddle or the device is missing, or the files are damaged.

    """
    start_paddle(provider)
    import paddle

    program, parameters, described = (
        stem.with_name(stem.name + suffix) for suffix in (".json", ".pdiparams", ".yml")
    )
    # Paddle refuses a stem beside a folder of the same name, where a run's checkpoints are.
    with tempfile.TemporaryDirectory() as folder:
        for file in (program, parameters):
            (Path(folder) / f"model{file.suffix}").symlink_to(file.resolve())
        try:
            layer = paddle.jit.load(f"{folder}/model")
        except Exception as error:  # Paddle raises whatever its parser of the day does
            raise UserError(f"{program}: cannot be loaded by Paddle: {first_line(error)}") from None
    layer.eval()
    content = yaml_tree.read(described) if described.is_file() else {}
    said = {name: str(value) for name, value in content.items()}
    size = SIZE.fullmatch(said.get("input_size", "")) if "plsc_version" in said else None
    return Network(
        path=str(stem),
        kind="paddle",
        run=runner(layer),
        input=InputSpec(size=(int(size[1]), int(size[2])) if size else None),
        digest=digest_of([program, parameters]),
        metadata=said,
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

    from plsc.nn.device import num_gpus

    if name == "cuda" and not num_gpus():
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
    """Return `layer` as a function: images as it takes them -> embeddings float32 [b, d]."""
    import paddle

    def run(images: NDArray[np.float32]) -> Floats:
        with paddle.no_grad():
            embeddings: Floats = layer(paddle.to_tensor(images)).numpy()
        return embeddings

    return run
