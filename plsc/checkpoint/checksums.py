"""Seal a checkpoint's state.json and the sums of the files beside it, and open it checked.

Two entries, each of which proves that the other must be there: `saved_at`, the time; `checksums`,
whose `files` has the sums of each file (files/block_sums.py) and whose `state` is the CRC-32 of all
else in state.json. Checkpoints of plsc 3.0 have neither and are read unchecked.
"""

import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LATEST_TIME = 2.0**53  # seconds
SAVED_AT, CHECKSUMS, STATE_SUM = "saved_at", "checksums", "state"


@dataclass(frozen=True)
class Known:
    """Holds the sums of a checkpoint's files.

    Attributes:
        files: sums by name; a file that is not there is not checked.
        saved_at: seconds; None where it is not told.

    """

    files: Mapping[str, str] = field(default_factory=dict)
    saved_at: float | None = None


def sealed(state: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Return the text of state.json with the sums of these files and its own."""
    content = {**state, SAVED_AT: time.time(), CHECKSUMS: {"files": dict(files)}}
    content[CHECKSUMS][STATE_SUM] = _sum(content)
    return _text(content)


def opened(content: dict[str, Any]) -> tuple[dict[str, Any], Known]:
    """Return the state that was sealed and what is known of the files beside it.

    Raises:
        ValueError: it is not as it was written.

    """
    if SAVED_AT not in content and CHECKSUMS not in content:
        return content, Known()
    sums, saved_at = content.get(CHECKSUMS), content.get(SAVED_AT)
    if not isinstance(sums, dict) or sums.get(STATE_SUM) != _sum(content):
        raise ValueError("its content is not what was written")
    files = sums.get("files")
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise ValueError("its sums are none")
    if not isinstance(saved_at, int | float) or not abs(saved_at) < LATEST_TIME:
        raise ValueError("its time is none")
    state = {name: entry for name, entry in content.items() if name not in (SAVED_AT, CHECKSUMS)}
    return state, Known(files, saved_at)


def changed(content: dict[str, Any], entries: Mapping[str, Any]) -> str:
    """Return the text of state.json, `content`, with these entries of the state in place.

    Raises:
        ValueError: it is not as it was written.

    """
    opened(content)
    content = {**content, **entries}
    if CHECKSUMS in content:
        content[CHECKSUMS] = {**content[CHECKSUMS], STATE_SUM: _sum(content)}
    return _text(content)


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _sum(content: Mapping[str, Any]) -> str:
    """Return the CRC-32 of a state but for this sum itself, however its text is laid out."""
    sums = {name: entry for name, entry in content[CHECKSUMS].items() if name != STATE_SUM}
    text = json.dumps({**content, CHECKSUMS: sums}, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"
