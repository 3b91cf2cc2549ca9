"""AdaFace against its formula in numpy, and what its averages remember."""

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.recognition.losses.adaface import AdaFace


class Reference:
    """The formula, sample by sample."""

    def __init__(self, *, m=0.4, h=0.333, s=64.0, t_alpha=0.01):
        self.m, self.h, self.s, self.t_alpha = m, h, s, t_alpha
        self.mean, self.std = 20.0, 100.0

    def __call__(self, cosines, target, norms):
        norms = np.clip(norms, 0.001, 100)
        spread = np.sqrt(((norms - norms.mean()) ** 2).sum() / max(len(norms) - 1, 1))
        self.mean = self.t_alpha * norms.mean() + (1 - self.t_alpha) * self.mean
        self.std = self.t_alpha * spread + (1 - self.t_alpha) * self.std
        logits = self.s * cosines
        for row, column in enumerate(target):
            if column >= 0:
                q = np.clip(self.h * (norms[row] - self.mean) / (self.std + 1e-3), -1, 1)
                angle = np.clip(np.arccos(cosines[row, column]) - self.m * q, 1e-3, np.pi - 1e-3)
                logits[row, column] = self.s * (np.cos(angle) - (self.m + self.m * q))
        return logits


def tensors(cosines, target, norms):
    return (
        paddle.to_tensor(np.array(cosines), stop_gradient=False),
        paddle.to_tensor(np.array(target)),
        paddle.to_tensor(np.array(norms)[:, None], stop_gradient=False),
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 6),
    options=st.fixed_dictionaries(
        {
            "m": st.floats(0, 0.8),
            "h": st.floats(0.05, 3),
            "s": st.floats(1, 64),
            "t_alpha": st.floats(0.01, 1),
        }
    ),
)
def test_logits_over_several_batches(seed, rows, options):
    random, reference, loss = np.random.default_rng(seed), Reference(**options), AdaFace(**options)
    for _ in range(3):
        cosines = random.uniform(-0.99, 0.99, (rows, 4))
        target, norms = random.integers(-1, 4, rows), random.lognormal(2, 1.5, rows)
        found = loss(*tensors(cosines, target, norms)).logits.numpy()
        np.testing.assert_allclose(found, reference(cosines, target, norms), rtol=1e-9, atol=1e-9)
    assert loss.state() == pytest.approx({"mean": reference.mean, "std": reference.std}, rel=1e-12)


def test_quality_has_no_gradient_and_the_cosine_its_own():
    cosines, target, norms = tensors([[0.5, 0.2], [0.3, 0.7]], [0, 1], [5.0, 60.0])
    logits = AdaFace(t_alpha=1.0)(cosines, target, norms).logits
    logits.sum().backward()
    assert norms.grad is None or not norms.grad.numpy().any()
    step, base = 1e-6, np.array([[0.5, 0.2], [0.3, 0.7]])
    for row, column in ((0, 0), (1, 1), (0, 1)):
        above, below = base.copy(), base.copy()
        above[row, column] += step
        below[row, column] -= step
        sums = [
            Reference(t_alpha=1.0)(changed, [0, 1], np.array([5.0, 60.0])).sum()
            for changed in (above, below)
        ]
        slope = (sums[0] - sums[1]) / (2 * step)
        assert cosines.grad[row, column].item() == pytest.approx(slope, rel=1e-6)


def test_what_is_logged():
    """Quantiles of the norms as they are, and of the quality."""
    norms = np.array([5.0, 10.0, 15.0])  # mean 10, deviation 5
    output = AdaFace(h=0.5, t_alpha=1.0)(*tensors(np.full((3, 2), 0.5), [0, -1, 1], norms))
    quality = 0.5 * (norms - 10) / 5.001
    expected = {
        f"{name}_p{percent}": values[place]
        for name, values in (("magnitude", norms), ("quality", quality))
        for place, percent in enumerate((5, 50, 95))
    }
    found = {name: value.item() for name, value in output.statistics.items()}
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_averages_do_not_keep_the_steps_that_made_them():
    """Else the memory of every step before would be held."""
    loss = AdaFace()
    loss(*tensors([[0.5, 0.2], [0.3, 0.7]], [0, 1], [5.0, 60.0]))
    assert loss._moving.stop_gradient


def test_the_kinds_of_margin_that_a_quality_gives():
    """A bad picture has ArcFace's, a middling one CosFace's, a good one asks more at 0 degrees."""
    loss = AdaFace(m=0.4, h=1.0, s=1.0, t_alpha=1.0)
    norms = [5.0, 10.0, 15.0]  # mean 10, deviation 5: q is -1, 0, 1
    angle = 1.0
    cosines = np.full((3, 2), np.cos(angle))
    bad, middling, good = loss(*tensors(cosines, [0, 0, 0], norms)).logits.numpy()[:, 0]
    assert bad == pytest.approx(np.cos(angle + 0.4), abs=1e-3)
    assert middling == pytest.approx(np.cos(angle) - 0.4, abs=1e-3)
    assert good == pytest.approx(np.cos(angle - 0.4) - 0.8, abs=1e-3)


def test_a_restored_one_goes_on_to_the_last_bit():
    random = np.random.default_rng(0)
    batches = [
        (
            random.uniform(-1, 1, (5, 3)).astype(np.float32),
            random.integers(0, 3, 5),
            random.uniform(1, 40, 5).astype(np.float32),
        )
        for _ in range(6)
    ]
    through, stopped = AdaFace(), AdaFace()
    for batch in batches[:3]:
        through(*tensors(*batch))
        stopped(*tensors(*batch))
    again = AdaFace()
    again.restore(stopped.state())
    for batch in batches[3:]:
        expected = through(*tensors(*batch)).logits.numpy()
        np.testing.assert_array_equal(again(*tensors(*batch)).logits.numpy(), expected)
    assert again.state() == through.state()
