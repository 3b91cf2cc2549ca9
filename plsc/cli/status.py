"""End every command: decide, in this one place, how an error reaches a person."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from plsc.cli.console import safe_console
from plsc.errors import UserError, printable, refusal
from plsc.supervise.heartbeat import SUPERVISED, record_failure

MISTAKE = 2  # the exit status


def exit_status(command: str, work: Callable[[], int | None]) -> int:
    """Return what `work` does, or 0; it parses the options, too, so that help reaches any console.

    One line on standard error and status 2 for a `UserError`, for what the system refuses (a full
    disk, a folder without permission) and for too little memory. 130 for Ctrl-C; 141 if nobody
    reads on what is printed (`| head`). Any other exception is a defect and goes on up. A
    supervisor hears of each in one line.
    """
    with safe_console():
        try:
            status = work() or 0
            if sys.stdout is not None:
                sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            if SUPERVISED in os.environ:
                raise  # so that the supervisor sees the signal, and no exit status
            return 128 + signal.SIGINT
        except BrokenPipeError:
            _let_output_go()
            return 128 + getattr(signal, "SIGPIPE", 13)  # Windows does not name it
        except (UserError, OSError, MemoryError) as error:
            return _end(command, one_line(error))
        except ValueError as error:
            if not str(error).startswith("embedded null"):  # Python's words for such a path
                record_failure(f"{type(error).__name__}: {error}")
                raise
            return _end(command, "a path holds a zero byte, which no file's name has")
        except Exception as error:
            record_failure(f"{type(error).__name__}: {error}")
            raise


def one_line(error: UserError | OSError | MemoryError) -> str:
    """Return what a person is told of the error, in one printable line."""
    if isinstance(error, OSError):
        text = refusal(error)
    elif isinstance(error, MemoryError):
        text = f"there is too little memory: {error or 'the system gives no more'}"
    else:
        text = str(error)
    return printable(" ".join(text.split("\n")))


def _end(command: str, line: str) -> int:
    record_failure(line)
    with contextlib.suppress(OSError):  # standard error may be a file on the full disk
        print(f"{command}: error: {line}", file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:
        _let_output_go()
    return MISTAKE


def _let_output_go() -> None:
    """Drop what is left in the buffer: it would fail once more at the end of the program."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
