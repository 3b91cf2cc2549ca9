"""End a command with one line and an exit status, without a traceback for a user's mistake."""

import os
import signal
import sys
from collections.abc import Callable

from plsc.errors import UserError


def exit_status(command: str, work: Callable[[], int | None]) -> int:
    """Return what `work` does, or 0; 2 after a line on standard error that says what to mend.

    That is a `UserError`, or what the system refused: a full disk, a folder without permission.
    130 for Ctrl-C; 141 if nobody reads on what is printed (`| head`).
    """
    try:
        status = work() or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"{command}: error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _let_output_go()
        return 128 + getattr(signal, "SIGPIPE", 13)  # Windows does not name it
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"{command}: error: {place}{error.strerror or error}", file=sys.stderr, flush=True)
        _let_output_go()
        return 2
    return status


def _let_output_go() -> None:
    """Drop what is left in the buffer: it would fail once more at the end of the program."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
