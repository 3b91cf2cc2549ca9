"""What is read from exit codes and from the last words of processes, as paddle 3.3.1 wrote them."""

import signal

import pytest

from plsc.supervise.diagnosis import Outcome, diagnose, last_words, shell_status

CLOSED = """\
Traceback (most recent call last):
  File "toy.py", line 8, in <module>
    dist.all_reduce(t);
RuntimeError: [/paddle/third_party/gloo/gloo/transport/tcp/pair.cc:584] TIMEOUT self_rank = 0 \
pair_rank = 1 peer_str = [127.0.0.1]:16272
"""
RESET = """\
Traceback (most recent call last):
  File "toy.py", line 8, in <module>
RuntimeError: [/paddle/third_party/gloo/gloo/transport/tcp/pair.cc:576] Read error \
[127.0.0.1]:910: Connection reset by peer
"""
TIMEOUT = """\
Traceback (most recent call last):
  File "toy.py", line 8, in <module>
RuntimeError: [/paddle/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:80] TIMEOUT \
self_rank = none pair_rank = -1 peer_str = none
"""
TERMINATE = """\
terminate called after throwing an instance of 'gloo::IoException'
  what():  [/paddle/third_party/gloo/gloo/transport/tcp/pair.cc:446] Connection closed by peer


--------------------------------------
C++ Traceback (most recent call last):
--------------------------------------
No stack trace in paddle, may be caused by external reasons.

----------------------
Error Message Summary:
----------------------
FatalError: `Process abort signal` is detected by the operating system.
  [SignalInfo: *** SIGABRT (@0x1f54) received by PID 8020 (TID 0x7f2df993cb80) from PID 8020 ***]
"""
CHAINED = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'first'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
plsc.errors.Other: the second
  [Hint: of two lines]
Exception ignored in: <function f>
"""


def read(code, tail="", said="", phase="step 7", interrupted=False):
    return diagnose(code, said=said, tail=tail, phase=phase, interrupted=interrupted)


@pytest.mark.parametrize(
    "code, tail, kind",
    [
        (0, "warning", Outcome.CLEAN),
        (1, CHAINED, Outcome.FAILED),
        (2, "plsc-train: error: no such file", Outcome.FAILED),
        (1, CLOSED, Outcome.DISCONNECTED),
        (1, RESET, Outcome.DISCONNECTED),
        (1, TIMEOUT, Outcome.WAITED),
        (3, "plsc: rank 0 on host a waited 120 s for the other 3 ranks", Outcome.DISCONNECTED),
        (-signal.SIGABRT, TERMINATE, Outcome.DISCONNECTED),
        (-signal.SIGABRT, "", Outcome.ABORTED),
        (-signal.SIGTERM, "", Outcome.ABORTED),
        (-signal.SIGKILL, CLOSED, Outcome.FAILED),
        (-signal.SIGSEGV, "", Outcome.FAILED),
    ],
)
def test_kinds(code, tail, kind):
    assert read(code, tail)[0] is kind


def test_only_the_message_counts_not_what_was_logged_before():
    tail = "I1122 tcp_utils.cc:132] Successfully connected to 127.0.0.1:57817\n" + CHAINED
    assert read(1, tail)[0] is Outcome.FAILED


def test_a_recorded_failure_goes_before_standard_error():
    kind, reason = read(2, CLOSED, said="Global.epochs must be at least 1, got 0")
    assert kind is Outcome.FAILED
    assert reason == "Global.epochs must be at least 1, got 0 (exit code 2, last phase: step 7)"


@pytest.mark.parametrize("code", [-signal.SIGINT, 128 + signal.SIGTERM])
def test_an_end_by_a_signal_that_was_handed_on_is_no_own_failure(code):
    assert read(code, interrupted=True)[0] is Outcome.ABORTED
    assert read(code)[0] is Outcome.FAILED


def test_reasons():
    assert "SIGKILL" in read(-9)[1] and "memory" in read(-9)[1]
    assert read(-11)[1] == "ended by SIGSEGV (last phase: step 7)"
    assert read(-64)[1].startswith("ended by SIGRTMAX")
    assert read(5, phase="")[1] == "ended without a message (exit code 5, no phase known)"
    assert len(read(1, said="x" * 5000)[1]) < 400
    assert "\n" not in read(1, said="two\nlines")[1]


def test_last_words():
    assert last_words(CHAINED, crashed=False) == "plsc.errors.Other: the second"
    assert last_words(TERMINATE, crashed=True).endswith("Connection closed by peer")
    assert last_words("one\n two \n\n", crashed=False) == "two"
    assert last_words("one\n two \n\n", crashed=True) == ""
    assert last_words("", crashed=False) == ""
    assert last_words("Traceback (most recent call last):\n  File", crashed=False) == ""


BANNER = """\
======================= Modified FLAGS detected =======================
FLAGS(name='FLAGS_selected_gpus', current_value='0', default_value='')
=======================================================================
"""


@pytest.mark.parametrize(
    "last",
    [
        BANNER,
        "--------------------\n",
        "======================= Modified FLAGS detected =======================\n",
        "I1201 03:12:07.1 tcp_utils.cc:132] Successfully connected to 127.0.0.1:57817\n",
        "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is\n",
        "a.py:3: UserWarning: slow\n  warnings.warn(text)\n",
    ],
)
def test_what_is_printed_while_all_is_well_is_no_reason(last):
    assert read(3, "one\n" + last)[1] == "ended without a message (exit code 3, last phase: step 7)"
    assert "why it ended" in read(3, last + "why it ended\n")[1]


def test_the_watchdog_of_the_start_is_no_lack_of_memory():
    words = "rank 0 on host a waited 100 s for the other 1 rank(s) (master b:1); check that"
    kind, reason = read(-9, f"{BANNER}plsc: {words}\n", phase="joining the other ranks")
    assert kind is Outcome.WAITED
    assert reason == f"{words} (last phase: joining the other ranks)"


def test_status_as_a_shell_gives_it():
    assert [shell_status(code) for code in (0, 2, -9)] == [0, 2, 137]
