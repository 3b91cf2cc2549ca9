"""Options that several commands have: said once, in every spelling, and what they come to."""

import argparse
import ast

import pytest
from places import ROOT

from plsc.cli.options import SHARED, add_flip, add_shared, spellings

CLI = ROOT / "plsc" / "cli"


def test_no_command_spells_a_shared_option_itself():
    """Only --json of plsc-eval and plsc-widerface is another option: it takes a file."""
    shared = {spelling for name in SHARED for spelling in spellings(name)}
    found = {
        (path.stem, word.value)
        for path in CLI.rglob("*.py")
        if path.name != "options.py"
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        for word in call.args
        if isinstance(word, ast.Constant) and word.value in shared
    }
    assert found == {("evaluate", "--json"), ("widerface", "--json")}


@pytest.mark.parametrize("spelling", ["--num-workers", "--num_workers", "--workers"])
def test_each_spelling_means_the_same(spelling):
    parser = argparse.ArgumentParser()
    add_shared(parser, "num_workers", default=7)
    assert parser.parse_args([spelling, "3"]).num_workers == 3
    assert parser.parse_args([]).num_workers == 7


@pytest.mark.parametrize("name", sorted(SHARED))
def test_names_of_two_words_have_both_marks(name):
    assert {f"--{name}", f"--{name.replace('_', '-')}"} <= set(spellings(name))


@pytest.mark.parametrize(
    ("default", "takes_value", "words", "flip"),
    [
        ("sum", True, [], "sum"),
        ("sum", True, ["--no-flip"], "none"),
        ("sum", True, ["--no_flip"], "none"),
        ("none", True, ["--flip", "sum"], "sum"),
        (None, True, [], None),
        (None, True, ["--flip", "none"], "none"),
        ("none", False, ["--flip"], "sum"),
        ("none", False, ["--no-flip"], "none"),
        ("none", False, [], "none"),
    ],
)
def test_mirroring(default, takes_value, words, flip):
    parser = argparse.ArgumentParser()
    add_flip(parser, default=default, help="", takes_value=takes_value)
    parser.add_argument("model")
    options = parser.parse_args([*words, "model"])
    assert (options.flip, options.model) == (flip, "model")
