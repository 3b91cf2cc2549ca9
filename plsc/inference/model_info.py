"""Decide how images are prepared: by option, by what a network's file says, or as is usual."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from plsc.data.transforms.align import FACE_SIZE
from plsc.data.transforms.input_pixels import ColourValues, colour_text
from plsc.errors import UserError
from plsc.inference.calibration import read_calibration
from plsc.inference.network import ASSUMED, ModelKind, Network
from plsc.inference.quality_calibration import PREPARED, Calibration
from plsc.inference.thresholds import ThresholdTable, read_thresholds

ColourOrder = Literal["RGB", "BGR"]
USUAL_SIZE = (FACE_SIZE, FACE_SIZE)
MOST_SIDE = 4096  # pixels; faces are small, and a batch of them is held in memory
DEDUCED = ", deduced"


@dataclass(frozen=True)
class InputOptions:
    """The user's settings of a model's input; None leaves them to the model.

    Attributes:
        mean: one number or one per colour, in pixels from 0 to 255.
        std: likewise.
        colour_order: RGB or BGR.
        size: side in pixels, or width and height.

    """

    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    colour_order: str | None = None
    size: int | tuple[int, int] | None = None


@dataclass(frozen=True)
class ModelInfo:
    """A model's properties, and the preparation of its images.

    Attributes:
        path: as the user named it.
        kind: "onnx", "checkpoint", "paddle" or "torch".
        dim: the embedding's size.
        size: width and height in pixels.
        colour_order: "RGB" or "BGR".
        mean: of each colour, in pixels from 0 to 255 and in that order.
        std: likewise; the network is given (pixel - mean) / std.
        batch: the only batch size that the network takes; None for any.
        alignment_template: where five landmarks are in its training images, x and y in pixels; None
            where the model does not say.
        thresholds: which cosine means one person at which false accept rate; None without.
        calibration: what an embedding's magnitude says of its image's quality; None without.
        config: YAML text of the training config; "" without.
        notes: one line for each thing above that could be wrong: what was taken, and why.

    """

    path: str
    kind: ModelKind
    dim: int
    size: tuple[int, int]
    colour_order: ColourOrder
    mean: ColourValues
    std: ColourValues
    batch: int | None = None
    alignment_template: tuple[tuple[float, float], ...] | None = None
    thresholds: ThresholdTable | None = None
    calibration: Calibration | None = None
    config: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def preparation(self) -> dict[str, object]:
        """Return how images are prepared for the model, as a calibration keeps it."""
        return {name: getattr(self, name) for name in PREPARED}

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Return the notes on what no metadata says: habit, or a file's other content."""
        return tuple(note for note in self.notes if ASSUMED in note or DEDUCED in note)


def model_info(network: Network, options: InputOptions) -> ModelInfo:
    """Return what is known of `network` before it has run: `dim` is 0.

    Raises:
        UserError: an option is wrong or contradicts the network, or the file's metadata is damaged.

    """
    said = network.metadata
    notes = list(network.notes)
    size = _size(network, options, notes)
    mean, std = _mean_std(network, options, notes)
    order = _colour_order(network, options, notes)
    if network.input.batch is not None:
        notes.append(f"batch: {network.input.batch}, fixed by the network")
    return ModelInfo(
        path=network.path,
        kind=network.kind,
        dim=0,
        size=size,
        colour_order=order,
        mean=mean,
        std=std,
        batch=network.input.batch,
        alignment_template=_template(network),
        thresholds=read_thresholds(said.get("thresholds", ""), network.path),
        calibration=read_calibration(said.get("quality", ""), network.path),
        config=said.get("config", ""),
        notes=tuple(notes),
    )


def _size(network: Network, options: InputOptions, notes: list[str]) -> tuple[int, int]:
    given, fixed = options.size, network.input.size
    if isinstance(given, int):
        given = (given, given)
    if given is not None and min(given) < 1:
        raise UserError(f"size must be at least 1 pixel, got {given[0]}x{given[1]}")
    if fixed is not None:
        _require_size(network, fixed)
        if given not in (None, fixed):
            raise UserError(f"{network.path}: takes {_by(fixed)} only, size is {_by(given)}")
        return fixed
    if given is not None:
        notes.append(f"size: {_by(given)}, by option")
        return given
    if text := network.metadata.get("input_size"):
        width, height = map(int, _numbers(text.replace("x", " "), network, "input_size", 2))
        _require_size(network, (width, height))
        return width, height
    notes.append(f"size: {_by(USUAL_SIZE)}{ASSUMED}: the model does not say; if wrong set size")
    return USUAL_SIZE


def _require_size(network: Network, size: tuple[int, int]) -> None:
    if not (min(size) >= 1 and max(size) <= MOST_SIDE):
        raise UserError(
            f"{network.path}: takes images of {_by(size)} pixels: sides of 1 to {MOST_SIDE} are "
            "possible"
        )


def _mean_std(
    network: Network, options: InputOptions, notes: list[str]
) -> tuple[ColourValues, ColourValues]:
    given = {"mean": options.mean, "std": options.std}
    uint8 = network.input.dtype == "uint8"
    if uint8 and (wrong := [name for name, value in given.items() if value is not None]):
        raise UserError(
            f"{network.path}: takes pixels as uint8 and does the rest itself: leave {wrong[0]} out"
        )
    found, sources = {}, {}
    usual = {"mean": 127.5, "std": 127.5}
    if network.takes_pixels:
        usual = {"mean": 0.0, "std": network.pixel_divisor}
    for name, value in given.items():
        if value is not None:
            found[name], sources[name] = _colour_values(value, name), ", by option"
        elif (text := network.metadata.get(name)) and not uint8:
            found[name] = _colour_values(_numbers(text, network, name), name)
            sources[name] = f", {network.said_by}"
        else:
            found[name] = _colour_values(usual[name], name)
            inside = network.takes_pixels
            sources[name] = (
                f", as {inside}"
                if uint8
                else f"{DEDUCED}: {inside}; if wrong set mean and std"
                if inside
                else f"{ASSUMED} as insightface does; if wrong set mean and std"
            )
    if 0 in found["std"]:
        raise UserError(f"std must not be 0, got {colour_text(found['std'])}")
    if sources["mean"] == sources["std"]:
        values = f"{colour_text(found['mean'])} and {colour_text(found['std'])}"
        notes.append(f"mean and std: {values}{sources['mean']}")
    else:
        notes += [f"{name}: {colour_text(found[name])}{sources[name]}" for name in found]
    return found["mean"], found["std"]


def _colour_order(network: Network, options: InputOptions, notes: list[str]) -> ColourOrder:
    given, said = options.colour_order, network.metadata.get("color_order")
    source, order = (
        (", by option", given)
        if given is not None
        else (f", {network.said_by}", said)
        if said
        else (f"{ASSUMED} as insightface does; if wrong set colour_order", "RGB")
    )
    notes.append(f"colour order: {order}{source}")
    if order in ("RGB", "BGR"):
        return "BGR" if order == "BGR" else "RGB"
    place = "colour_order" if given is not None else f"{network.path}: color_order in its metadata"
    raise UserError(f"{place} must be RGB or BGR, got {order!r}")


def _template(network: Network) -> tuple[tuple[float, float], ...] | None:
    text = network.metadata.get("alignment_template", "")
    if not text:
        return None
    numbers = _numbers(text.replace(",", " "), network, "alignment_template", 10)
    return tuple(zip(numbers[0::2], numbers[1::2], strict=True))


def _numbers(text: str, network: Network, name: str, count: int | None = None) -> list[float]:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    right = len(numbers) in ((1, 3) if count is None else (count,))
    if not right or not all(map(math.isfinite, numbers)):
        raise UserError(f"{network.path}: {name} in its metadata is damaged: {text[:60]!r}")
    return numbers


def _colour_values(value: float | Sequence[float], name: str) -> ColourValues:
    """Return one number per colour.

    Raises:
        UserError: neither one number nor three, or not finite.

    """
    values = np.ravel(np.asarray(value, np.float64)).tolist()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise UserError(f"{name} must be one number or one for each of 3 colours, got {value!r}")
    first, second, third = values if len(values) == 3 else values * 3
    return first, second, third


def _by(size: tuple[int, int] | None) -> str:
    return "" if size is None else f"{size[0]}x{size[1]}"
