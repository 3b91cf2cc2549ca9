"""Read a quality calibration from a model, and check that it fits how images are prepared now.

The calibration itself, and its arithmetic, is in quality_calibration.py.
"""

import json
from collections.abc import Mapping
from typing import Any

from plsc.data.transforms.input_pixels import colour_text
from plsc.errors import UserError
from plsc.inference.quality_calibration import Calibration


def read_calibration(text: str, source: str) -> Calibration | None:
    """Return the calibration in JSON text; None for no text.

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


def require_alike(calibration: Calibration, prepared: Mapping[str, Any]) -> None:
    """Refuse a calibration of images that were prepared otherwise than they are now.

    Args:
        calibration: what a model carries.
        prepared: how images are prepared now, see `ModelInfo.preparation`.

    Raises:
        UserError: names the option that makes them alike.

    """
    for name, value in calibration.prepared.items():
        if prepared[name] != value:
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"the quality calibration was made with {option} {_shown(value)}, the images are "
                f"prepared with {_shown(prepared[name])}: give {option} {_shown(value)}, or "
                "calibrate anew"
            )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else colour_text(value)
