"""What a mistake ends in: one line that names it, whether raised or printed by a command."""

from collections.abc import Callable
from typing import Any

import pytest

from plsc.errors import UserError


def refused(action: Callable[[], Any], *words: object) -> str:
    """Return the one line that `action` is refused with; it holds all of these words."""
    with pytest.raises(UserError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text and all(str(word) in text for word in words), text
    return text


def error_line(said: str, command: str) -> str:
    """Return what follows `<command>: error: ` in the one such line of a standard error."""
    begins = f"{command}: error: "
    assert "Traceback" not in said, said
    (line,) = [line for line in said.splitlines() if line.startswith(begins)]
    return line.removeprefix(begins)
