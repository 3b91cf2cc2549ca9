"""`python -m plsc COMMAND`: the same commands as the scripts that are installed."""

import re
import subprocess
import sys

import pytest
from places import ROOT

from plsc.__main__ import COMMANDS


def test_it_offers_what_is_installed():
    scripts = re.findall(r'"plsc-(\w+) = ([\w.]+):main"', (ROOT / "setup.py").read_text())
    assert dict(scripts) == COMMANDS


@pytest.mark.parametrize(
    ("command", "program"), [("compare", "plsc-compare"), ("eval", "plsc-eval")]
)
def test_a_command_gets_the_arguments(command, program):
    done = run(command, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {program} ")


@pytest.mark.parametrize("arguments", [[], ["evaluate"]])
def test_another_word_is_answered_with_the_commands(arguments):
    done = run(*arguments)
    assert done.returncode == 1 and not done.stdout
    assert all(command in done.stderr for command in COMMANDS)


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "plsc", *arguments], cwd=ROOT, capture_output=True, text=True
    )
