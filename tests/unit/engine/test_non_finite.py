"""The words that a run stops with when a number is not finite."""

import numpy as np
import paddle
import pytest

from plsc.engine.non_finite import first_non_finite, non_finite_error
from plsc.errors import UserError

FINE = paddle.ones([2, 3])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_is_named_with_its_count(value):
    wrong = np.ones((2, 3), "float32")
    wrong[0, 1] = wrong[1, 2] = value
    tensors = {"a": FINE, "b": paddle.to_tensor(wrong), "c": paddle.to_tensor(wrong)}
    assert first_non_finite(tensors) == "b (2 of 6 values are nan or inf)"


def test_all_fine():
    assert first_non_finite({"a": FINE}) is None
    assert first_non_finite({}) is None


def test_the_error():
    error = non_finite_error(7, "the loss is nan", {"a": FINE, "b": FINE * float("nan")})
    assert isinstance(error, UserError)
    assert str(error).startswith("step 7: the loss is nan; rank 0 on ")
    assert "b (6 of 6 values are nan or inf)" in str(error)
    assert "\n" not in str(error)
    clean = str(non_finite_error(1, "the loss is inf", {"a": FINE}))
    assert clean.startswith("step 1: the loss is inf; all inputs are finite; ")
