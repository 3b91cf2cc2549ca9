"""Tell how a trainer ended, from its exit code and its last words."""

import re
import signal
from dataclasses import dataclass
from enum import Enum

REASON_LIMIT = 300  # characters
INTERRUPTED = {-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT}

# When a rank dies, gloo in the others raises RuntimeError ("... gloo/transport/tcp/pair.cc:584]
# TIMEOUT ...", at once in spite of the word) or calls std::terminate; NCCL, the TCP store and the
# preflight all-reduce have their own words for it.
DISCONNECTED = re.compile(
    r"\bgloo\b|\bnccl|tcp_?store|tcp_utils|connection (reset|closed|refused)|broken pipe"
    r"|waited \d+ s for the other",
    re.IGNORECASE,
)
# What the watchdog of distributed/world.py says before it kills its own process.
NOT_JOINED = re.compile(
    r"^plsc: (rank \d+ on host \S+ waited \d+ s for the other .*)$", re.MULTILINE
)
# What is printed while all is well: rules and banners, flags, glog's lines, gloo's, warnings.
NOISE = re.compile(
    r"^\W*$|^(\W)\1{5,}.*\1{5,}$|^FLAGS\(|^[IW]\d{4,8} |^\[Gloo\] "
    r"|^\s*warnings\.warn\(|warning:",
    re.IGNORECASE,
)
# Gloo's real timeout: no peer has closed its connection, one has not come.
WAITED = re.compile(r"gloo.*(unbound_buffer.*timeout|timed out waiting)", re.IGNORECASE)


NEVER_CAME = "never came"  # begins the reason of a rank that others have waited for at the start


class Outcome(str, Enum):
    """Ways to end, in the order in which they are believed to be the first failure."""

    FAILED = "failed"  # on its own account: an exception, a signal, a hang
    LOST = "lost"  # its supervisor is gone without a word
    ABORTED = "aborted"  # SIGABRT or SIGTERM: an own failure or another's consequence
    DISCONNECTED = "disconnected"  # another rank closed the connection
    WAITED = "waited"  # another rank did not come to a collective
    CLEAN = "clean"
    STOPPED = "stopped"  # by its supervisor, because of another rank


@dataclass(frozen=True)
class Ending:
    """The end of one rank. `code` is an exit status as a shell gives it: 137 for SIGKILL."""

    rank: int
    host: str
    kind: Outcome
    code: int
    reason: str
    phase: str = ""
    time: float = 0.0
    """Seconds, by the clock of the file server that keeps the record: one clock for all ranks."""


def diagnose(
    code: int, *, said: str, tail: str, phase: str, interrupted: bool
) -> tuple[Outcome, str]:
    """Return outcome and reason of an end that the supervisor did not bring about.

    Args:
        code: the process's exit code; -N for signal N.
        said: what the trainer gave to `record_failure`, or "".
        tail: the last of its standard error.
        phase: its last phase.
        interrupted: whether a SIGTERM or SIGINT was handed to it.
    """
    if code == 0:
        return Outcome.CLEAN, f"ended normally ({quoted(phase)})"
    alone = NOT_JOINED.search(tail) if code == -signal.SIGKILL and not said else None
    if alone is not None:
        return Outcome.WAITED, f"{clip(alone[1])} ({quoted(phase)})"
    words = clip(said or last_words(tail, crashed=code < 0))
    reason = f"{_end(code, words)} ({_status(code)}{quoted(phase)})"
    if interrupted and code in INTERRUPTED or code == -signal.SIGTERM:
        return Outcome.ABORTED, reason
    if code > 0 or code == -signal.SIGABRT:
        if WAITED.search(words):
            return Outcome.WAITED, reason
        if DISCONNECTED.search(words):
            return Outcome.DISCONNECTED, reason
    return (Outcome.ABORTED if code == -signal.SIGABRT else Outcome.FAILED), reason


def last_words(tail: str, *, crashed: bool) -> str:
    """Return the line of a process's last output that says why it ended; "" if none does.

    That is what a C++ exception says, else the message under the last Python traceback, else the
    last line, unless it is one that a process prints while all is well, or a signal ended the
    process: then the last line is of something else.
    """
    lines = [line.rstrip() for line in tail.splitlines() if line.strip()]
    for line in reversed(lines):
        _, found, message = line.partition("what():")
        if found and message.strip():
            return message.strip()
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call")]
    if starts:
        below = (line for line in lines[starts[-1] + 1 :] if not line[0].isspace())
        return next(below, "")
    return "" if crashed or not lines or NOISE.search(lines[-1]) else lines[-1].strip()


def shell_status(code: int) -> int:
    """Return the exit status of a process as a shell gives it: 128 + N for signal N."""
    return code if code >= 0 else 128 - code


def quoted(phase: str) -> str:
    """Return the words that quote a phase in a reason."""
    return f"last phase: {phase}" if phase else "no phase known"


def clip(text: str) -> str:
    """Return `text` as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= REASON_LIMIT else line[: REASON_LIMIT - 1] + "…"


def _end(code: int, words: str) -> str:
    if code > 0:
        return words or "ended without a message"
    name = _signal_name(-code)
    if -code == signal.SIGKILL:
        return f"killed by {name}, as the kernel does when memory runs out"
    return f"ended by {name}" + (f": {words}" if words else "")


def _status(code: int) -> str:
    return f"exit code {code}, " if code > 0 else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
