"""Text for a person: any name reaches any terminal, and changes nothing there but the text."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from plsc.errors import printable

OWN = re.compile(r"([\n\t\r])")  # what commands write themselves: lines, tables, progress bars


class Console:
    """A text stream that takes every character.

    Control characters and what the stream's encoding lacks are written as Python escapes; all
    else is the stream's.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`; return the number of its characters."""
        if not text.isascii() or not text.isprintable():
            text = "".join(
                part if OWN.fullmatch(part) else printable(part) for part in OWN.split(text)
            )
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        return self._stream.write(text)


@contextmanager
def safe_console() -> Iterator[None]:
    """Let standard output and standard error take every character within the `with` block."""
    before = sys.stdout, sys.stderr
    if not isinstance(sys.stdout, Console):
        sys.stdout, sys.stderr = Console(sys.stdout), Console(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
