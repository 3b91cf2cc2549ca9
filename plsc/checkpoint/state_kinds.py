"""Check the kinds of the values in a checkpoint's state.json, which may come from anyone."""

import math
from collections.abc import Callable, Mapping
from typing import Any

MOST = 2**53  # numbers from here on are no counts, and JSON's other readers round them


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < MOST and math.isfinite(value)


def _is_scaler(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value.get("enabled"):
        return isinstance(value, Mapping)
    counts = all(_is_count(value.get(name)) for name in ("good_steps", "bad_steps"))
    return counts and _is_number(value.get("scale")) and value["scale"] > 0


def _is_config(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        section is None or isinstance(section, Mapping) for section in value.values()
    )


def _is_text_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())


def _are_losses(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, Mapping) and all(map(_is_number, each.values())) for each in value
    )


KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "run": (lambda value: _is_text(value) or _is_count(value), "a name or number"),
    **dict.fromkeys(
        ("step", "epoch", "consumed", "num_images", "global_batch", "world_size"),
        (_is_count, "a whole number from 0 on"),
    ),
    "best_metric": (lambda value: value is None or _is_number(value), "a number or null"),
    "scaler": (_is_scaler, "the state of a loss scale"),
    "task": (_is_text, "a name"),
    "config": (_is_config, "a config's sections"),
    "model": (_is_text_table, "texts by name"),
    "losses": (lambda value: value is None or _are_losses(value), "the state of each loss"),
    "thresholds": (lambda value: value is None or isinstance(value, Mapping), "a table"),
}


def wrong_kind(state: Mapping[str, Any]) -> str:
    """Return a sentence about the first entry that is not of its kind; "" if all are."""
    for name, (holds, what) in KINDS.items():
        if name in state and not holds(state[name]):
            return f"{name!r} must be {what}, got {type(state[name]).__name__}"
    return ""
