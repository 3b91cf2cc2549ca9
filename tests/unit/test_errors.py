"""Other libraries' exceptions in one line."""

import pytest

from plsc.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such thing\nat 0x12"), "no such thing"),
        (ValueError("\n  indented\n"), "indented"),
        (KeyError(), "KeyError"),
        (RuntimeError(" \n"), "RuntimeError"),
    ],
)
def test_first_line(error, line):
    assert first_line(error) == line
