"""Describe a backbone's input beside its weights, so that nobody who uses it has to know it."""

import json
from collections.abc import Mapping
from typing import Any

from plsc import __version__
from plsc.checkpoint.saved_config import config_of
from plsc.config.load import dump_config
from plsc.config.sections import Config
from plsc.data.transforms.align import FACE_SIZE, template
from plsc.data.transforms.input_pixels import InputPixels, pixels_of, trained_on
from plsc.inference.network import MEASURED
from plsc.recognition.report.evaluation import ModelCard


def describe_model(num_features: int, pixels: InputPixels) -> dict[str, str]:
    """Return colour order, mean, std, sizes, alignment and version, as texts.

    Args:
        num_features: the embedding's size.
        pixels: what the backbone was trained on.

    """
    return {
        **pixels.metadata(),
        "input_size": f"{FACE_SIZE}x{FACE_SIZE}",
        "alignment_template": " ".join(f"{x:g},{y:g}" for x, y in template()),
        "embedding_size": str(num_features),
        "plsc_version": __version__,
    }


def metadata(
    state: Mapping[str, Any], fallback: Config, *, num_features: int, source: str
) -> dict[str, str]:
    """Return all that an exported file says of a checkpoint's model.

    Args:
        state: of the checkpoint; one of an older version need not have its description.
        fallback: the config to describe where the state has none.
        num_features: the embedding's size.
        source: the checkpoint, for messages.

    """
    config = config_of(state, source) or fallback
    described = state.get("model") or describe_model(num_features, trained_on(config))
    measured = {name: json.dumps(state[name]) for name in MEASURED if state.get(name)}
    return {
        **{str(name): str(value) for name, value in described.items()},
        "config": dump_config(config),
        **measured,
    }


def model_card(config: Config, path: str, *, dim: int, precision: str) -> ModelCard:
    """Return what a report says of the weights at `path`, measured as `config` says.

    Args:
        config: has at least one set to evaluate.
        path: of the weights.
        dim: the embedding's size.
        precision: in effect.

    """
    evaluation = config.DataLoader.Eval
    pixels = pixels_of(evaluation.dataset[0]) if evaluation else InputPixels()
    return ModelCard(
        path=path,
        kind=f"weights of {config.Model.name}",
        dim=dim,
        size=(FACE_SIZE, FACE_SIZE),
        colour_order=pixels.colour_order,
        mean=pixels.mean,
        std=pixels.std,
        notes=(
            "colour order, mean and std: as transform_ops of DataLoader.Eval say",
            f"precision: {precision}",
        ),
    )
