"""A backbone on the CPU at ONNX Runtime's speed, which is twice Paddle's and more."""

import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from plsc.distributed import world
from plsc.distributed.collectives import agree
from plsc.errors import first_line
from plsc.export.convert import compare, save_program
from plsc.files import onnx_file
from plsc.nn import environment as runtime
from plsc.nn.cpu_layers import DepthwiseConv2D
from plsc.nn.kernels.compiled import wanted

Embed = Callable[[np.ndarray], np.ndarray]

# Forward passes of single images on one rank. Making and loading the file takes 3 to 6 s; an image
# then takes 4 ms less for the smallest backbones, and a second less for the largest.
FEWEST_IMAGES = 500
OPSET = 17
CHECKED_BATCHES = (3,)

logger = logging.getLogger(__name__)


def onnx_embedder(backbone: nn.Layer, *, num_images: int) -> Embed | None:
    """`backbone` (in evaluation mode) as it is now, run by ONNX Runtime; called by all ranks.

    None on all ranks where Paddle is to run it: on a GPU, for fewer than `FEWEST_IMAGES` images on
    a rank, where depthwise convolutions have kernels of their own (which beat ONNX Runtime's),
    without the packages of an ONNX export, and where the file cannot be made or differs from the
    backbone on any rank, of which a warning tells. The backbone stays as it is.
    """
    if num_images < FEWEST_IMAGES or paddle.get_device() != "cpu":
        return None
    embed = None
    if _possible() and not _faster_as_it_is(backbone):
        try:
            embed = _session(backbone)
        except Exception as error:  # whatever of three packages fails: Paddle can do without them
            said = first_line(error)
            logger.warning("evaluating without ONNX Runtime, which is faster: %s", said)
    return None if agree(embed is None) else embed


def _possible() -> bool:
    stock = os.environ.get("PLSC_STOCK_CPU") == "1"
    return not stock and all(importlib.util.find_spec(name) for name in onnx_file.MODULES)


def _faster_as_it_is(backbone: nn.Layer) -> bool:
    depthwise = (item for item in backbone.sublayers() if isinstance(item, DepthwiseConv2D))
    return any(layer.has_kernel for layer in depthwise) and wanted()


def _session(backbone: nn.Layer) -> Embed:
    """Through files that are gone when it returns: the session has read them."""
    with tempfile.TemporaryDirectory(prefix="plsc-") as folder:
        path = Path(folder) / "model.onnx"
        save_program(backbone, path.with_suffix(""))
        onnx_file.convert(path.with_suffix(""), path, opset=OPSET)
        onnx_file.finish(path, {})
        threads = runtime.threads(local_size=world.current().local_size)
        run = onnx_file.run(path, threads=threads)
    compare(backbone, run, "its ONNX file", batches=CHECKED_BATCHES)
    return run
