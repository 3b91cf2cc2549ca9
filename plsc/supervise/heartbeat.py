"""The trainer's side of the pipe to its supervisor: signs of life, what it is at, last words."""

import contextlib
import faulthandler
import json
import os
import signal
import threading
from types import TracebackType

SUPERVISED = "PLSC_SUPERVISED"
"""Environment variable of a supervised trainer: `<supervisor's pid>:<file descriptor>`."""

STARTING = "starting"
"""The phase before the first `Heartbeat.note`."""

STACK_SIGNAL = getattr(signal, "SIGUSR1", None)
"""Makes a trainer write the Python stacks of its threads to standard error."""

TEXT_LIMIT = 500  # characters; a message of PIPE_BUF (4096) bytes or less is written whole


class Heartbeat:
    """Context manager: tells the supervisor every `interval` seconds that this process lives.

    The thread runs on while the main thread waits in a collective or computes in C++, and stops
    with the process (SIGSTOP, a hung machine). Without a supervisor it does nothing.
    """

    def __init__(self, *, interval: float = 1.0) -> None:
        self._interval = interval
        self._pipe = _pipe()
        self._stop = threading.Event()
        self._message = json.dumps({"phase": STARTING})
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        if self._pipe is not None:
            if STACK_SIGNAL is not None:
                faulthandler.register(STACK_SIGNAL, all_threads=True)
            _send(self._pipe, self._message)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()

    def note(self, phase: str, *, position: float | None = None) -> None:
        """Say what the main thread is at; a failure report quotes the last `phase`.

        Args:
            phase: a few words, "step 12".
            position: a number that is the same at the same place of the program on every rank and
                grows. A rank that stays behind another's for long counts as hung; None leaves
                this phase out of the comparison. It is negative while the ranks join.
        """
        message: dict[str, str | float] = {"phase": phase[:TEXT_LIMIT]}
        if position is not None:
            message["position"] = position
        self._message = json.dumps(message, ensure_ascii=False)
        if self._pipe is not None:
            _send(self._pipe, self._message)

    def _run(self) -> None:
        assert self._pipe is not None
        supervisor = os.getppid()
        while not self._stop.wait(self._interval):
            # Linux kills a trainer whose supervisor has died; elsewhere it must see to it itself.
            if os.getppid() != supervisor:
                os.kill(os.getpid(), signal.SIGKILL)
            _send(self._pipe, self._message)


def record_failure(text: str) -> None:
    """Tell the supervisor in one line why this process is about to end with an error."""
    pipe = _pipe()
    if pipe is not None:
        line = " ".join(text.split())
        _send(pipe, json.dumps({"failure": line[:TEXT_LIMIT]}, ensure_ascii=False))


def _pipe() -> int | None:
    """Return the pipe's descriptor; None in a process that no supervisor started itself.

    A subprocess of a trainer inherits the variable but not the descriptor, whose number may name
    another file there: the parent's pid tells the two apart.
    """
    parent, _, descriptor = os.environ.get(SUPERVISED, "").partition(":")
    if not descriptor or os.getppid() != int(parent):
        return None
    os.set_blocking(int(descriptor), False)
    return int(descriptor)


def _send(pipe: int, message: str) -> None:
    # A full pipe means that the supervisor is stopped: training must not wait for it. A broken
    # one means that it has ended: the kernel, or the check in the thread, ends this process.
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe, message.encode(errors="replace") + b"\n")
