"""Annotations as a schema: what passes, what is parsed, and what is refused."""

import math
import re
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from plsc.config.schema import Range, check, check_params, nearest, parse_literal
from plsc.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0/255.0", 1.0 / 255.0),
        ("2*64", 128),
        ("2**32", 2**32),
        ("1/2/2", 0.25),
        ("-3", -3),
        ("5e-4", 5e-4),
        ("(0.9, 0.999)", (0.9, 0.999)),
        ("(1/2, [3, 'a'])", (0.5, [3, "a"])),
        ("True", True),
        ("None", None),
        (" 7 ", 7),
        ("{'a': 1}", {"a": 1}),
    ],
)
def test_literals_are_parsed(text, value):
    assert parse_literal(text) == value
    assert type(parse_literal(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "NCHW",
        "./output/x-1",
        "__import__('os').getcwd()",
        "open('/etc/passwd')",
        "1/0",
        "9**9**9",
        "2**5000",
        "'a'*1000000000",
        "[1]*1000000000",
        "1 +",
        "a.b",
        "[x for x in (1,)]",
        "lambda: 1",
        "",
        "\0",
    ],
)
def test_anything_else_stays_text(text):
    assert parse_literal(text) == text


@given(st.text(max_size=40))
def test_any_text_is_survived(text):
    parse_literal(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_literal_of_a_repr_is_the_value(value):
    assert parse_literal(repr(value)) == value


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (Range(1), [1, 2, 1e9], [0, 0.999, -1, math.nan]),
        (Range(0, 1), [0, 0.5, 1], [-1e-9, 1.0001]),
        (Range(0, 1, low_open=True), [1e-12, 1], [0, 2]),
        (Range(0, 1, high_open=True), [0, 0.999], [1]),
        (Range(high=3), [-100, 3], [3.1]),
    ],
)
def test_range_bounds(bounds, inside, outside):
    assert all(value in bounds for value in inside)
    assert not any(value in bounds for value in outside)


@pytest.mark.parametrize(
    ("value", "annotation", "wanted"),
    [
        ("5e-4", float, 5e-4),
        ("1.0/255.0", float, 1 / 255),
        (3, float, 3.0),
        (3.0, int, 3),
        ("12", int, 12),
        ("(0.9, 0.999)", tuple[float, float], (0.9, 0.999)),
        ([1, "1/2"], list[float], [1.0, 0.5]),
        ([1, 2], tuple[int, ...], (1, 2)),
        ("['dist']", tuple[str, ...], ("dist",)),
        ("None", int | None, None),
        (None, str | None, None),
        ("text", str, "text"),
        (True, bool, True),
        ("b", Literal["a", "b"], "b"),
        (0.5, Annotated[float, Range(0, 1)], 0.5),
        ([1, 2], Annotated[list[int], Range(1)], [1, 2]),
    ],
)
def test_values_that_pass(value, annotation, wanted):
    checked = check(value, annotation, "k")
    assert checked == wanted
    assert type(checked) is type(wanted)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("abc", float),
        (True, float),
        (True, int),
        (1.5, int),
        (1, bool),
        (1, str),
        (None, int),
        ("dist", list[str]),
        ([1, "x"], list[int]),
        ([1], tuple[int, int]),
        (0, Annotated[int, Range(1)]),
        (1.5, Annotated[float, Range(0, 1)]),
        (0, Annotated[float, Range(0, 1, low_open=True)]),
        ([1, 0], Annotated[list[int], Range(1)]),
        ("stop", Literal["step", "epoch"]),
        ("x", int | None),
    ],
)
def test_values_that_do_not(value, annotation):
    refused(lambda: check(value, annotation, "k"), "k")


def build(size: Annotated[int, Range(1)], rate: float = 0.1, *, mode: Literal["a", "b"] = "a"):
    """A builder for these tests."""


class Built:
    """A builder that is a class."""

    def __init__(self, size: int):
        self.size = size


def test_check_params_returns_what_is_given_and_no_defaults():
    assert check_params(build, {"size": "4"}, "Model") == {"size": 4}
    assert check_params(Built, {"size": 4.0}, "Model") == {"size": 4}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 1, "rat": 2}, "Model.rat: unknown key; did you mean 'rate'?"),
        ({"size": 1, "zzz": 2}, "Model.zzz: unknown key; known: mode, rate, size"),
        ({}, "Model.size is missing"),
        ({"size": 0}, "Model.size must be a whole number at least 1, got 0"),
        ({"size": 1, "mode": "c"}, "Model.mode must be one of 'a', 'b', got 'c'"),
    ],
)
def test_check_params_refuses(params, message):
    with pytest.raises(UserError, match=re.escape(message)):
        check_params(build, params, "Model")


def test_supplied_parameters_are_not_the_configs():
    assert check_params(build, {}, "Model", supplied=["size"]) == {}
    with pytest.raises(UserError, match=r"Model\.size: unknown key"):
        check_params(build, {"size": 1}, "Model", supplied=["size"])


def test_nothing_is_near_where_nothing_is_known():
    assert nearest("qqq", []) == ""
