"""Describe the export of a detector: images of any size in, the values of all anchors out."""

import numpy as np

from plsc.config.sections import Config
from plsc.detection.anchors import SIDES, STRIDES
from plsc.detection.boxes import CENTRE_VARIANCE, SIDE_VARIANCE
from plsc.detection.models.retinaface import BOX, LANDMARK, SCORE
from plsc.export.probes import probe_images
from plsc.export.spec import ExportSpec, Input, Words
from plsc.files.onnx_file import Arrays

INPUT = "data"
PROBE_SHAPE = (3, 96, 128)
PIXELS = {"color_order": "BGR", "mean": "104 117 123", "std": "1"}


def probes(count: int) -> Arrays:
    """Return `count` images in the range of pixels that the mean is taken from."""
    return {INPUT: probe_images(count, PROBE_SHAPE) * np.float32(127.5)}


def export_spec(config: Config, source: str) -> ExportSpec:
    """Return the spec of the config's detector.

    Args:
        config: names the detector.
        source: where its weights lie, for metadata.

    """
    return ExportSpec(
        inputs={INPUT: Input((None, 3, None, None), "float32")},
        outputs=(BOX, SCORE, LANDMARK),
        probes=probes,
        metadata={
            **PIXELS,
            "source": source,
            "detector": config.Model.name,
            "strides": " ".join(map(str, STRIDES)),
            "anchor_sides": " ".join(str(side) for sides in SIDES for side in sides),
            "variances": f"{CENTRE_VARIANCE} {SIDE_VARIANCE}",
        },
        words=Words(network="detector", outputs="detections", samples="images"),
        summary=f"input [N, 3, H, W], outputs {BOX} [N, A, 4], {SCORE} [N, A, 2], "
        f"{LANDMARK} [N, A, 10]",
    )
