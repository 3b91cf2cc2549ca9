"""Describe the export of a recognition network: images in, embeddings out, and its metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paddle import nn

from plsc.config.sections import Config
from plsc.data.transforms.align import FACE_SHAPE
from plsc.data.transforms.input_pixels import InputPixels
from plsc.export import probes
from plsc.export.spec import ExportSpec, Input, Words
from plsc.export.tolerance import MAX_HALF_DIFFERENCE, MAX_RELATIVE_DIFFERENCE
from plsc.files.onnx_file import Arrays
from plsc.recognition.description import describe_model, metadata
from plsc.recognition.pixel_input import INPUT, OUTPUT, PixelInput, Preprocessing

MIN_COSINE = 0.9999
CHECKED_BATCHES = (1, 5, 64)
NUM_PROBES = 5  # of each kind of patches one; in evaluation mode no row depends on others
STANDING = {"layout": "NCHW", "normalisation": "(pixel - mean) / std, pixels 0 to 255"}
WORDS = Words(
    network="backbone",
    outputs="embeddings",
    samples="images",
    remedy=" (one built with data_format NHWC exports with -o Model.data_format=NCHW)",
)


@dataclass(frozen=True)
class EmbeddingAgreement:
    """The differences between a file's embeddings and the backbone's, and the most allowed."""

    min_cosine: float
    max_difference: float
    largest_value: float
    max_relative: float = MAX_RELATIVE_DIFFERENCE

    @property
    def equal(self) -> bool:
        """Return whether only rounding makes the difference."""
        close = self.max_difference <= self.max_relative * self.largest_value
        return close and self.min_cosine >= MIN_COSINE

    def __str__(self) -> str:
        """Return the figures in a few words."""
        return (
            f"cosine {self.min_cosine:.7f}, largest difference "
            f"{self.max_difference:.2g} of {self.largest_value:.2g}"
        )


class EmbeddingComparison:
    """Embeddings agree in direction and in values."""

    def compare(
        self, expected: Arrays, found: Arrays, *, rows: Mapping[str, str], fp16: bool
    ) -> EmbeddingAgreement:
        """Compare `found` with `expected`; arguments as of export.spec.Comparison."""
        theirs, ours = found[OUTPUT].astype(np.float64), expected[OUTPUT]
        lengths = np.linalg.norm(theirs, axis=1) * np.linalg.norm(ours, axis=1)
        cosines = (theirs * ours).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
        difference, largest = np.abs(theirs - ours).max(), np.abs(ours).max()
        max_relative = MAX_HALF_DIFFERENCE if fp16 else MAX_RELATIVE_DIFFERENCE
        return EmbeddingAgreement(
            float(cosines.min()), float(difference), float(largest), max_relative
        )


def probe_images(count: int) -> NDArray[np.float32]:
    """Return deterministic normalised images [count, 3, 112, 112]."""
    return probes.probe_images(count, FACE_SHAPE)


def embedding_spec(
    num_features: int,
    *,
    metadata: Mapping[str, str] | None = None,
    preprocessing: Preprocessing = "none",
) -> ExportSpec:
    """Return the spec of a backbone: `data` [N, 3, 112, 112] in, `embedding` [N, d] out.

    Args:
        num_features: the embedding's size d.
        metadata: entries for the file beside those that every backbone's has, or in their place.
        preprocessing: nhwc or nchw for an ONNX file that takes uint8 RGB images, brings them to the
            colour order, mean and std of the metadata, and gives embeddings of length 1.

    """
    described = describe_model(num_features, InputPixels())
    spec = ExportSpec(
        inputs={INPUT: Input((None, *FACE_SHAPE), "float32")},
        outputs=(OUTPUT,),
        probes=lambda count: {INPUT: probe_images(count)},
        metadata={**STANDING, **described, **(metadata or {})},
        comparison=EmbeddingComparison(),
        batches=CHECKED_BATCHES,
        num_probes=NUM_PROBES,
        words=WORDS,
        summary=f"input [N, 3, 112, 112], output [N, {num_features}]",
    )
    if preprocessing == "none":
        return spec
    form = PixelInput.of(preprocessing, spec.metadata)
    shape = "[N, 112, 112, 3]" if preprocessing == "nhwc" else "[N, 3, 112, 112]"
    return replace(
        spec,
        probes=form.probes,
        metadata={**spec.metadata, **form.metadata()},
        transform=form,
        summary=f"input uint8 RGB {shape}, output [N, {num_features}] of length 1",
    )


def export_spec(
    config: Config, network: nn.Layer, state: Mapping[str, Any], source: str
) -> ExportSpec:
    """Return the spec of the config's backbone; its notes tell what the file leaves out.

    Args:
        config: says in which form the file takes images.
        network: the backbone with its weights.
        state: of the checkpoint that they are from; empty for weights without one.
        source: where they lie, for messages and metadata.

    """
    preprocessing, notes = config.Export.preprocessing, []
    said = metadata(state, config, num_features=network.num_features, source=source)
    said |= {"source": source, "backbone": config.Model.name}
    kept = state.get("thresholds") or {}
    if preprocessing != "none" and (kept.get("flip") or kept.get("prepared")):
        # The thresholds hold for sums with mirrored images' embeddings, which change once each has
        # length 1, or for pixels that options prepared, whereas this file prepares its own.
        del said["thresholds"]
        notes.append("thresholds left out: measure this file anew")
    if preprocessing != "none" and said.pop("quality", ""):
        notes.append("quality calibration left out: embeddings of length 1 say nothing of quality")
    spec = embedding_spec(network.num_features, metadata=said, preprocessing=preprocessing)
    batch = config.Export.input_shape[0]
    summary = spec.summary if batch is None else spec.summary.replace("[N", f"[{batch}")
    return replace(spec, notes=tuple(notes), fixed_batch=batch, summary=summary)
