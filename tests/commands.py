"""Programs as users start them, run to their end in a process of their own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def ran(*line: object, status: int | None = 0, timeout: float = 240, **options):
    """Return the finished process of a command line, its output as text; asserts its status."""
    done = subprocess.run(
        [str(part) for part in line], capture_output=True, text=True, timeout=timeout, **options
    )
    assert status is None or done.returncode == status, done
    assert status is None or "Traceback" not in done.stderr, done
    return done


def installed(name: str, *arguments: object, **options):
    """Return the finished process of an installed command, such as `plsc-data`; see `ran`."""
    return ran(Path(sys.executable).with_name(name), *arguments, **options)


def python(*arguments: object, **options):
    """Return the finished process of this Python with a script, or with `-c` and a program."""
    return ran(sys.executable, *arguments, **options)


def stopped(line: list, number: int, *, when: Callable[[], object], **options) -> None:
    """Send a signal to a command line once `when` holds; it ends by that, in good order."""
    words = list(map(str, line))
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, **options) as process:
        end = time.monotonic() + 60
        while not when():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(number)
        _, text = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in text
