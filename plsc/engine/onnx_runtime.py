"""A network on the CPU at ONNX Runtime's speed, which is twice Paddle's and more."""

import importlib.util
import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from paddle import nn

from plsc.distributed import world
from plsc.distributed.collectives import agree
from plsc.errors import first_line
from plsc.export.convert import compare, write_onnx
from plsc.export.spec import ExportSpec
from plsc.files import onnx_file
from plsc.files.onnx_file import Run
from plsc.nn import environment as runtime
from plsc.nn.cpu_layers import DepthwiseConv2D
from plsc.nn.device import on_cpu
from plsc.nn.kernels.compiled import wanted

# Forward passes of single samples on one rank. Making and loading the file takes 3 to 6 s; a face
# then takes 4 ms less for the smallest backbones, and a second less for the largest.
FEWEST_SAMPLES = 500
OPSET = 17
CHECKED_BATCHES = (3,)

logger = logging.getLogger(__name__)


def onnx_function(network: nn.Layer, spec: ExportSpec, *, num_samples: int) -> Run | None:
    """Return `network` (in evaluation mode) as it is now, run by ONNX Runtime; called by all ranks.

    None on all ranks where Paddle is to run it: on a GPU, for fewer than `FEWEST_SAMPLES` on a
    rank, where depthwise convolutions have kernels of their own (which beat ONNX Runtime's),
    without the packages of an ONNX export, and where the file cannot be made or differs from the
    network on any rank, of which a warning tells. The network stays as it is. Of `spec`, metadata
    and transform do not matter.
    """
    if num_samples < FEWEST_SAMPLES or not on_cpu():
        return None
    function = None
    if _possible() and not _faster_as_it_is(network):
        try:
            function = _session(network, replace(spec, transform=None))
        except Exception as error:  # whatever of three packages fails: Paddle can do without them
            said = first_line(error)
            logger.warning("evaluating without ONNX Runtime, which is faster: %s", said)
    return None if agree(function is None) else function


def _possible() -> bool:
    stock = os.environ.get("PLSC_STOCK_CPU") == "1"
    return not stock and all(importlib.util.find_spec(name) for name in onnx_file.MODULES)


def _faster_as_it_is(network: nn.Layer) -> bool:
    depthwise = (item for item in network.sublayers() if isinstance(item, DepthwiseConv2D))
    return any(layer.has_kernel for layer in depthwise) and wanted()


def _session(network: nn.Layer, spec: ExportSpec) -> Run:
    """Return the network as a session of ONNX Runtime; its files are gone, for it has read them."""
    with tempfile.TemporaryDirectory(prefix="plsc-") as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(network, path, spec, opset=OPSET)
        threads = runtime.threads(local_size=world.current().local_size)
        run = onnx_file.run(path, threads=threads, samples=spec.words.samples)
    compare(network, run, "its ONNX file", spec, batches=CHECKED_BATCHES)
    return run
