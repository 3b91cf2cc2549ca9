"""The threshold table that a model may carry: which cosine means one person, at which risk."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plsc.errors import UserError


@dataclass(frozen=True)
class ThresholdTable:
    """Thresholds measured on one verification set; on other people's photos rates are others.

    Attributes:
        set_name: of the verification set.
        flip: whether embeddings were summed with those of the mirrored images.
        cosines: false accept rate, as text -> cosine at or above which two images are of one
            person; from the highest rate to the lowest.
        prepared: what options said of the images' preparation when they were measured: mean, std,
            colour_order, size. Other images than those have other cosines.

    """

    set_name: str
    flip: bool
    cosines: dict[str, float]
    prepared: Mapping[str, Any] = field(default_factory=dict)


def read_thresholds(text: str, source: str) -> ThresholdTable | None:
    """Return the table in `{"set", "flip", "far": {"1e-3": {"cosine"}}}`; None for no text.

    Raises:
        UserError: `text` is something else; names `source`.

    """
    if not text:
        return None
    try:
        table = json.loads(text)
        cosines = {str(far): float(point["cosine"]) for far, point in table["far"].items()}
        if not all(float(far) > 0 and math.isfinite(value) for far, value in cosines.items()):
            raise ValueError
        falling = dict(sorted(cosines.items(), key=lambda item: -float(item[0])))
        prepared = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in table.get("prepared", {}).items()
        }
        return ThresholdTable(
            str(table.get("set", "")), bool(table.get("flip", False)), falling, prepared
        )
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        shown = text[:60]
        raise UserError(f"{source}: the threshold table it carries is damaged: {shown!r}") from None
