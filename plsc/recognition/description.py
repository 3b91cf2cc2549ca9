"""What goes along with weights, so that nobody who uses a model has to know it."""

import copy
import json
from collections.abc import Mapping
from typing import Any

from plsc import __version__
from plsc.config.load import dump_config, parse_config
from plsc.config.sections import Config
from plsc.data.transforms.align import FACE_SIZE, template
from plsc.data.transforms.input_pixels import ColourValues, InputPixels, input_pixels
from plsc.data.transforms.standard import DEFAULT_TRANSFORMS
from plsc.errors import UserError
from plsc.recognition.report.evaluation import ModelCard


def describe_model(config: Config, *, num_features: int) -> dict[str, str]:
    """Colour order, mean, std, sizes, alignment and version, as texts.

    Args:
        config: the config that the backbone was trained with.
        num_features: the embedding's size.

    """
    return {
        **pixel_metadata(trained_on(config)),
        "input_size": f"{FACE_SIZE}x{FACE_SIZE}",
        "alignment_template": " ".join(f"{x:g},{y:g}" for x, y in template(FACE_SIZE)),
        "embedding_size": str(num_features),
        "plsc_version": __version__,
    }


def pixel_metadata(pixels: InputPixels) -> dict[str, str]:
    """Colour order, mean and std, as texts."""
    return {
        "color_order": pixels.colour_order,
        "mean": _text(pixels.mean),
        "std": _text(pixels.std),
    }


def trained_on(config: Config) -> InputPixels:
    """What the config's transforms make of pixels: the training set's, else the first to evaluate.

    A set that names no transforms has the usual ones.
    """
    train, evaluation = config.DataLoader.Train, config.DataLoader.Eval
    datasets = [train.dataset] if train else list(evaluation.dataset if evaluation else ())
    if not datasets:
        return InputPixels()
    given = datasets[0].params.get("transform_ops") or DEFAULT_TRANSFORMS
    return input_pixels(given, f"{datasets[0].key}.transform_ops")


def config_of(state: Mapping[str, Any], source: str) -> Config | None:
    """The training config in a checkpoint's state; None where it has none.

    Raises:
        UserError: it cannot be read.

    """
    tree = state.get("config")
    if not isinstance(tree, dict):
        return None
    try:
        return parse_config(copy.deepcopy(tree))
    except UserError as error:
        raise UserError(f"{source}: the config in its state.json: {error}") from error


def metadata(
    state: Mapping[str, Any], fallback: Config | None, *, num_features: int, source: str
) -> dict[str, str]:
    """All that an exported file says of a checkpoint's model.

    Args:
        state: of the checkpoint; one of an older version need not have its description.
        fallback: the config to describe where the state has none.
        num_features: the embedding's size.
        source: the checkpoint, for messages.

    """
    config = config_of(state, source) or fallback
    described = state.get("model") or {}
    if not described and config is not None:
        described = describe_model(config, num_features=num_features)
    result = {str(name): str(value) for name, value in described.items()}
    if config is not None:
        result["config"] = dump_config(config)
    for measured in ("thresholds", "quality"):  # by plsc-eval and plsc-quality
        if found := state.get(measured):
            result[measured] = json.dumps(found)
    return result


def model_card(config: Config, path: str, *, dim: int, precision: str) -> ModelCard:
    """What a report says of the weights at `path`, measured as `config` says.

    Args:
        config: has at least one set to evaluate.
        path: of the weights.
        dim: the embedding's size.
        precision: in effect.

    """
    evaluation = config.DataLoader.Eval
    datasets = evaluation.dataset if evaluation else ()
    given = next((item.params.get("transform_ops") for item in datasets), None)
    pixels = input_pixels(given or DEFAULT_TRANSFORMS)
    name = config.Model.name if config.Model else ""
    return ModelCard(
        path=path,
        kind=f"weights of {name}",
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


def _text(values: ColourValues) -> str:
    """One number where the colours share it."""
    return " ".join(f"{value:.7g}" for value in (values[:1] if len(set(values)) == 1 else values))
