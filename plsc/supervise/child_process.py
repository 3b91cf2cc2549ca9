"""The trainer as its supervisor's child: start, heartbeat, standard error, signals."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from plsc.supervise.heartbeat import STACK_SIGNAL, STARTING, SUPERVISED

PR_SET_PDEATHSIG = 1  # Linux: prctl(2)
TAIL_BYTES = 8192
KILL_WAIT = 5.0  # seconds; a process that waits for a dead disk or driver outlives even SIGKILL
STANDARD_ERROR = 2


class TrainerProcess:
    """One supervised process and what is known about it.

    It has a session of its own: signals that the launcher sends to the supervisor's group reach
    it once, through the supervisor, and what it leaves behind (loader workers) can be ended.
    On Linux the kernel kills it when the supervisor dies.

    Attributes:
        phase, position: what it was at when last heard.
        said: what it gave to `record_failure`, or "".
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.phase = STARTING
        self.position: float | None = None
        self.said = ""
        self._finished = False
        self._pipe, pipe_end = os.pipe()
        os.set_blocking(self._pipe, False)
        self._unread = b""
        self._process = subprocess.Popen(
            command,
            env={**os.environ, SUPERVISED: f"{os.getpid()}:{pipe_end}"},
            stderr=subprocess.PIPE,
            pass_fds=(pipe_end,),
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
        os.close(pipe_end)
        self._tail = b""
        self._relay = threading.Thread(target=self._relay_errors, name="stderr", daemon=True)
        self._relay.start()

    @property
    def pid(self) -> int:
        """Process id, also its session's and its process group's."""
        return self._process.pid

    @property
    def tail(self) -> str:
        """Return the last of its standard error."""
        return self._tail.decode(errors="replace")

    def listen(self) -> bool:
        """Read what it sent since the last call; whether there was anything."""
        heard = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._pipe, 65536):
                heard += chunk
        *lines, self._unread = (self._unread + heard).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self.said = message.get("failure", self.said)
            if "phase" in message:
                self.phase, self.position = message["phase"], message.get("position")
        return bool(lines)

    def poll(self) -> int | None:
        """Return its exit code, None while it runs; after its end, end its workers too."""
        code = self._process.poll()
        if code is not None:
            self._finish()
        return code

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def show_stacks(self) -> None:
        """Have it write the Python stacks of its threads to standard error."""
        # Before the heartbeat has begun the signal has its default effect: it would kill.
        if STACK_SIGNAL is not None and self.phase != STARTING:
            self._process.send_signal(STACK_SIGNAL)
            time.sleep(0.5)

    def kill(self) -> int:
        """Kill it and its workers; the exit code."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_WAIT)
        self._finish()
        return -signal.SIGKILL if self._process.returncode is None else self._process.returncode

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._process.returncode != 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._relay.join(timeout=2.0)
        self.listen()

    def _relay_errors(self) -> None:
        # Through here, so that the last words are known and the report comes after all of them.
        # A thread, so that a reader of the terminal who holds it up does not hold up the watch.
        assert self._process.stderr is not None
        source = self._process.stderr.fileno()
        while chunk := os.read(source, 65536):
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]
            with contextlib.suppress(OSError):  # nobody reads: the trainer must not stop for that
                while chunk:
                    chunk = chunk[os.write(STANDARD_ERROR, chunk) :]


def _die_with_parent() -> Callable[[], None]:
    """Return what a new process does first: ask to be killed with its parent."""
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the request
            os._exit(1)

    return prepare
