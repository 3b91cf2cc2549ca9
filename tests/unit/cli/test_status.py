import os

import pytest

from plsc.cli.status import exit_status
from plsc.errors import UserError


def raising(error):
    def work():
        raise error

    return work


def test_exit_status(capfd):
    assert exit_status("cmd", lambda: None) == 0
    assert exit_status("cmd", lambda: 1) == 1
    assert exit_status("cmd", raising(KeyboardInterrupt())) == 130
    assert capfd.readouterr().err == ""
    assert exit_status("cmd", raising(UserError("a: wrong"))) == 2
    assert capfd.readouterr().err == "cmd: error: a: wrong\n"
    with pytest.raises(ZeroDivisionError):
        exit_status("cmd", lambda: 1 // 0)


@pytest.mark.parametrize(
    "error, line",
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "a/b"), "a/b: Permission denied"),
    ],
)
def test_what_the_system_refuses_a_command_is_one_line(capfd, error, line):
    out = os.dup(1)
    try:
        assert exit_status("cmd", raising(error)) == 2
    finally:
        os.dup2(out, 1)
        os.close(out)
    assert capfd.readouterr().err == f"cmd: error: {line}\n"
