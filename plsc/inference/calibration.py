"""The quality calibration that a model may carry, and whether it is of images prepared alike."""

import json
from typing import TYPE_CHECKING

from plsc.errors import UserError
from plsc.inference.quality_calibration import Calibration

if TYPE_CHECKING:
    from plsc.inference.model_info import ModelInfo


def read_calibration(text: str, source: str) -> Calibration | None:
    """The calibration in JSON text; None for no text.

    Raises:
        UserError: `text` is something else; names `source`.

    """
    if not text:
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(
            f"{source}: the quality calibration it carries is damaged: {text[:60]!r}"
        ) from None
    return Calibration.from_dict(content, source=source)


def preparation(info: "ModelInfo") -> dict[str, object]:
    """How a model's images are prepared, as a calibration keeps it."""
    return {
        "mean": info.mean,
        "std": info.std,
        "colour_order": info.colour_order,
        "size": info.size,
    }


def require_alike(calibration: Calibration, info: "ModelInfo") -> None:
    """Refuse a calibration of images that were prepared otherwise than they are now.

    Raises:
        UserError: names the option that makes them alike.

    """
    now = preparation(info)
    for name, value in calibration.prepared.items():
        if now[name] != value:
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"the quality calibration was made with {option} {_shown(value)}, the images are "
                f"prepared with {_shown(now[name])}: give {option} {_shown(value)}, or calibrate "
                "anew"
            )


def _shown(value: object) -> str:
    values = value if isinstance(value, tuple) else (value,)
    same = len(set(values)) == 1
    return " ".join(
        f"{item:g}" if isinstance(item, float) else str(item)
        for item in (values[:1] if same else values)
    )
