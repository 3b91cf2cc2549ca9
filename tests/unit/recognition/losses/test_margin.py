"""Margins against the formula in numpy float64, its derivative, and the edges of arccos."""

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plsc.recognition.losses.margin import MarginLoss, target_cosines
from plsc.recognition.losses.softmax import cross_entropy

PRESETS = {
    "SphereFace": {"m1": 1.35},
    "ArcFace": {"m2": 0.5},
    "CosFace": {"m3": 0.4},
    "combined": {"m1": 1.2, "m2": 0.3, "m3": 0.2},
}


def expected_logits(cosines, target, m1=1.0, m2=0.0, m3=0.0, s=64.0):
    """(logits, d logits / d cosines, elementwise: a margin couples no two cosines)."""
    logits, slope = s * cosines, np.full_like(cosines, s)
    for row, column in enumerate(target):
        if column >= 0:
            angle = np.arccos(cosines[row, column])
            logits[row, column] = s * (np.cos(m1 * angle + m2) - m3)
            with np.errstate(divide="ignore", invalid="ignore"):  # at cosine 1 only logits matter
                slope[row, column] = s * m1 * np.sin(m1 * angle + m2) / np.sin(angle)
    return logits, slope


def found_logits(cosines, target, upstream=None, **margins):
    leaf = paddle.to_tensor(cosines, stop_gradient=False)
    norms = paddle.ones([len(cosines), 1], leaf.dtype)
    logits = MarginLoss(**margins)(leaf, paddle.to_tensor(target), norms).logits
    weights = np.ones_like(cosines) if upstream is None else upstream
    (logits * paddle.to_tensor(weights)).sum().backward()
    return logits.numpy(), leaf.grad.numpy()


def loss_and_gradient(cosines, target, **margins):
    leaf = paddle.to_tensor(cosines, stop_gradient=False)
    target = paddle.to_tensor(target)
    norms = paddle.ones([len(cosines), 1], leaf.dtype)
    loss = cross_entropy(MarginLoss(**margins)(leaf, target, norms).logits, target)
    loss.backward()
    return loss.item(), leaf.grad.numpy()


@st.composite
def problems(draw):
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    cosine = st.floats(-0.9999, 0.9999)
    return {
        "cosines": draw(arrays(np.float64, (rows, columns), elements=cosine)),
        "target": draw(arrays(np.int64, rows, elements=st.integers(-1, columns - 1))),
        "upstream": draw(arrays(np.float64, (rows, columns), elements=st.floats(-2, 2))),
        "margins": {
            "m1": draw(st.just(1.0) | st.floats(0, 2)),
            "m2": draw(st.just(0.0) | st.floats(0, 1.5)),
            "m3": draw(st.just(0.0) | st.floats(0, 1)),
            "s": draw(st.floats(0.5, 128)),
        },
    }


@settings(max_examples=120, deadline=None)
@given(problems())
def test_any_margin_and_its_true_gradient(problem):
    cosines, target, upstream = problem["cosines"], problem["target"], problem["upstream"]
    logits, slope = expected_logits(cosines, target, **problem["margins"])
    found, gradient = found_logits(cosines, target, upstream, **problem["margins"])
    scale = problem["margins"]["s"]
    np.testing.assert_allclose(found, logits, rtol=1e-10, atol=1e-12 * scale)
    np.testing.assert_allclose(gradient, upstream * slope, rtol=1e-9, atol=1e-10 * scale)


@pytest.mark.parametrize("margins", PRESETS.values(), ids=PRESETS)
def test_gradient_of_the_loss_equals_finite_differences(margins):
    random = np.random.default_rng(0)
    cosines = random.uniform(-0.9, 0.9, (4, 5))
    target = np.array([0, 3, 4, 1])
    _, gradient = loss_and_gradient(cosines, target, s=8.0, **margins)
    step = 1e-6
    for place in np.ndindex(*cosines.shape):
        moved = [cosines.copy(), cosines.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        above, below = (loss_and_gradient(c, target, s=8.0, **margins)[0] for c in moved)
        assert gradient[place] == pytest.approx((above - below) / (2 * step), abs=1e-7)


@pytest.mark.parametrize(
    ("margins", "cosines", "loss", "gradient"),
    [
        ({"m2": 0.5}, [0.5, 0.2, -0.1], 1.164414, [-1.588182, 0.888287, 0.487502]),
        ({"m3": 0.4}, [0.5, 0.2, -0.1], 1.061852, [-1.308371, 0.844758, 0.463613]),
        ({"m1": 1.35}, [0.9, 0.2, -0.1], 0.370146, [-1.096027, 0.399489, 0.219244]),
    ],
)
def test_worked_numbers(margins, cosines, loss, gradient):
    found = loss_and_gradient(np.array([cosines]), np.array([0]), s=2.0, **margins)
    assert found[0] == pytest.approx(loss, abs=1e-6)
    np.testing.assert_allclose(found[1], [gradient], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("margins", PRESETS.values(), ids=PRESETS)
def test_finite_at_and_beyond_cosine_one(margins, dtype):
    one = np.array(1, dtype)
    edges = np.array([one, np.nextafter(one, one * 2), np.nextafter(one, one * 0), 1 + 1e-3], dtype)
    edges = np.concatenate([edges, -edges])
    cosines = np.stack([edges, np.full_like(edges, 0.3), edges[::-1]], axis=1)
    for column in (0, 1):
        target = np.full(len(edges), column)
        loss, gradient = loss_and_gradient(cosines, target, s=64.0, **margins)
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()
        logits, _ = found_logits(cosines, target, s=64.0, **margins)
        expected, _ = expected_logits(cosines.astype("float64").clip(-1, 1), target, **margins)
        # 1.5e-3 is the angle at the clamp in float32 with room for rounding, times m1
        np.testing.assert_allclose(logits[:, column], expected[:, column], atol=64 * 1.5e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_close_to_the_edge(dtype):
    """The clamp must bite no earlier than float32 needs."""
    cosines = np.array([[0.99999, 0.0], [-0.99999, 0.0]], dtype)
    target = np.array([0, 0])
    expected = expected_logits(cosines.astype("float64"), target, m2=0.5)
    found = found_logits(cosines, target, m2=0.5)
    tolerance = 1e-2 if dtype == "float32" else 1e-8
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance)
    np.testing.assert_allclose(found[1], expected[1], rtol=tolerance)


def test_rows_whose_class_is_elsewhere_get_no_margin():
    cosines = np.random.default_rng(1).uniform(-1, 1, (3, 4)).astype("float32")
    logits, gradient = found_logits(cosines, np.array([-1, 2, -1]), m1=1.3, m2=0.5, m3=0.2, s=64.0)
    np.testing.assert_array_equal(logits[[0, 2]], cosines[[0, 2]] * np.float32(64))
    np.testing.assert_array_equal(gradient[[0, 2]], 64.0)
    assert (logits[1] != cosines[1] * np.float32(64)).tolist() == [False, False, True, False]


def test_cosines_are_not_edited():
    cosines = paddle.to_tensor([[0.5, 0.2]])
    MarginLoss(m2=0.5)(cosines, paddle.to_tensor([0]), paddle.ones([1, 1]))
    np.testing.assert_array_equal(cosines.numpy(), np.array([[0.5, 0.2]], "float32"))


def test_target_cosines():
    cosines = paddle.to_tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    own, column, owned = target_cosines(cosines, paddle.to_tensor([2, -1, 0]))
    np.testing.assert_allclose(own.numpy(), [[0.3], [0.4], [0.7]], rtol=1e-6)
    assert column.numpy().tolist() == [[2], [0], [0]]
    assert owned.numpy().tolist() == [[1], [0], [1]]
    assert owned.dtype == cosines.dtype
