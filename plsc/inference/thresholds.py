"""The threshold table that a model may carry: which cosine means one person, at which risk."""

import json
import math
from dataclasses import dataclass

from plsc.errors import UserError


@dataclass(frozen=True)
class ThresholdTable:
    """Thresholds measured on one verification set; on other people's photos rates are others.

    Attributes:
        set_name: of the verification set.
        flip: whether embeddings were summed with those of the mirrored images.
        cosines: false accept rate, as text -> cosine at or above which two images are of one
            person; from the highest rate to the lowest.

    """

    set_name: str
    flip: bool
    cosines: dict[str, float]


def read_thresholds(text: str, source: str) -> ThresholdTable | None:
    """The table in JSON text `{"set", "flip", "far": {"1e-3": {"cosine"}}}`; None for no text.

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
        return ThresholdTable(str(table.get("set", "")), bool(table.get("flip", False)), falling)
    except (ValueError, TypeError, KeyError, AttributeError):
        shown = text[:60]
        raise UserError(f"{source}: the threshold table it carries is damaged: {shown!r}") from None
