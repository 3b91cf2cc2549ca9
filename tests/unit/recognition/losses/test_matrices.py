"""Each function on a matrix, by numpy and by Paddle's operators, against float64."""

import numpy as np
import paddle
import pytest

from plsc.recognition.losses import matrices

N, K, D = 5, 300, 16
RANDOM = np.random.default_rng(3)
MATRIX, COLUMN, ROW = (
    RANDOM.standard_normal(shape, np.float32) for shape in ((N, K), (N, 1), (K,))
)
LEFT, RIGHT = (RANDOM.standard_normal((count, D), np.float32) for count in (N, K))
WIDE = MATRIX.astype(np.float64)


@pytest.fixture(params=["cpu", "gpu:0"], autouse=True)
def device(request, monkeypatch):
    """The two ways; tensors are on a CPU in both."""
    monkeypatch.setattr(paddle, "get_device", lambda: request.param)
    return request.param


@pytest.mark.parametrize(
    "result, expected",
    [
        (lambda x: matrices.product(*map(paddle.to_tensor, (LEFT, RIGHT))), LEFT @ RIGHT.T),
        (lambda x: matrices.scaled(x, 64.0), WIDE * 64),
        (lambda x: matrices.row_maxima(x), WIDE.max(axis=1, keepdims=True)),
        (lambda x: matrices.row_sums(x), WIDE.sum(axis=1, keepdims=True)),
        (lambda x: matrices.column_sums(x), WIDE.sum(axis=0)),
    ],
    ids=["product", "scaled", "row_maxima", "row_sums", "column_sums"],
)
def test_new_tensors(result, expected):
    matrix = paddle.to_tensor(MATRIX)
    found = result(matrix)
    assert found.dtype == paddle.float32 and found.stop_gradient
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert found.shape == list(expected.shape)
    np.testing.assert_array_equal(matrix.numpy(), MATRIX)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda x: matrices.multiply_(x, paddle.to_tensor(ROW)), WIDE * ROW),
        (lambda x: matrices.multiply_(x, paddle.to_tensor(COLUMN)), WIDE * COLUMN),
        (lambda x: matrices.subtract_(x, paddle.to_tensor(COLUMN)), WIDE - COLUMN),
        (matrices.exp_, np.exp(WIDE)),
    ],
    ids=["multiply_ by a row", "multiply_ by a column", "subtract_", "exp_"],
)
def test_changes_in_place(change, expected):
    matrix = paddle.to_tensor(MATRIX)
    assert change(matrix) is matrix
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_passes_without_a_warning():
    matrix = paddle.to_tensor(np.array([[np.inf, 1], [np.nan, 1], [3e38, 3e38]], np.float32))
    largest = matrices.row_maxima(matrix)
    np.testing.assert_array_equal(largest.numpy().ravel(), np.float32([np.inf, np.nan, 3e38]))
    np.testing.assert_array_equal(
        matrices.row_sums(matrix).numpy().ravel(), [np.inf, np.nan, np.inf]
    )
    np.testing.assert_array_equal(matrices.scaled(matrix, 64.0).numpy()[2], [np.inf, np.inf])
    shifted = matrices.exp_(matrices.subtract_(matrix, largest)).numpy()
    np.testing.assert_array_equal(shifted, [[np.nan, 0], [np.nan, np.nan], [1, 1]])


def test_a_cpu_adds_up_many_columns_well(device):
    if device != "cpu":
        pytest.skip("the tensors are on a CPU, whose sum() by Paddle is off by 1e-3 here")
    matrix = paddle.full([1, 100_000], 0.3)
    np.testing.assert_allclose(matrices.row_sums(matrix).item(), 1e5 * np.float32(0.3), rtol=1e-6)
