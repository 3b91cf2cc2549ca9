"""Cosines of other classes above the threshold become 0, without a gradient."""

import numpy as np
import paddle
from hypothesis import given
from hypothesis import strategies as st

from plsc.recognition.losses.interclass import filter_similar


@given(st.integers(1, 5), st.integers(1, 6), st.floats(0, 0.9), st.integers(0, 2**32))
def test_equals_the_definition(num_samples, num_classes, threshold, seed):
    random = np.random.default_rng(seed)
    cosines = random.uniform(-1, 1, (num_samples, num_classes))
    target = random.integers(-1, num_classes, num_samples)
    gradient = random.normal(0, 1, cosines.shape)
    leaf = paddle.to_tensor(cosines, stop_gradient=False)
    filtered = filter_similar(leaf, paddle.to_tensor(target), threshold)
    (filtered * paddle.to_tensor(gradient)).sum().backward()
    for row in range(num_samples):
        for column in range(num_classes):
            kept = column == target[row] or cosines[row, column] <= threshold
            expected = cosines[row, column] if kept else 0
            assert filtered.numpy()[row, column] == expected
            assert leaf.grad.numpy()[row, column] == (gradient[row, column] if kept else 0)


def test_no_number_is_hidden():
    cosines = paddle.to_tensor([[np.nan, 0.5]])
    assert np.isnan(filter_similar(cosines, paddle.to_tensor([1]), 0.1).numpy()[0, 0])
