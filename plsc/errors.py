"""The one exception that means: the user can mend this."""

import os

SHOWN = 40  # characters of a value in a message
MOST_BITS = 128  # of a whole number in a message


class UserError(ValueError):
    """A mistake in a config, a file or a command line.

    The message is one line: the thing, its value and the remedy. Commands print it without a
    traceback and exit with status 2; every other exception is a defect of plsc and keeps its
    traceback.
    """


class DamagedFile(UserError):
    """A file of a checkpoint is gone, or not what was written: another checkpoint may serve."""


class Unmeasurable(UserError):
    """A network's outputs tell nothing, as early in training: the set counts as not measured."""


def first_line(error: BaseException) -> str:
    """Return another library's message as one line; the exception's class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def short(value: object) -> str:
    """Return a value from a file as a few printable characters, whatever it is and holds."""
    if isinstance(value, str | bytes):
        return printable(repr(value[:SHOWN])) + ("…" if len(value) > SHOWN else "")
    if isinstance(value, bool | float | type(None)):
        return repr(value)
    if isinstance(value, int) and value.bit_length() < MOST_BITS:
        return str(value)
    return f"a value of type {type(value).__name__}"


def refusal(error: OSError) -> str:
    """Return what the system refused and where, as one line without Python's own words."""
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{place}{error.strerror or first_line(error)}"


def printable(text: str) -> str:
    """Return `text` with whatever a terminal would act on, or could not show, as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
