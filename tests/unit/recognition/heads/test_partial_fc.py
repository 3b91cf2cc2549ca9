"""The head in a world of one: sampling over steps, the zero vector, extra terms.

Its numbers are held to a reference in tests/distributed/test_head_parallel.py.
"""

import numpy as np
import paddle
import pytest

from plsc.distributed.sharding import RowShard
from plsc.recognition.heads.centres import ClassCentres, vector_norms
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.losses.adaface import AdaFace
from plsc.recognition.losses.magface import MagCosFace, MagFace
from plsc.recognition.losses.margin import MarginLoss, MarginOutput

CLASSES, DIM = 40, 6


def head_of(dtype="float64", losses=None, num_classes=CLASSES, rank=0, size=1, **options):
    shard = RowShard(num_classes, rank, size)
    weight = np.random.default_rng(0).normal(0, 0.01, (shard.num_local, DIM)).astype(dtype)
    centres = ClassCentres.of(shard, weight, state_names=("velocity",))
    return PartialFC(centres, losses or [(1.0, MarginLoss(m2=0.5))], **options)


def batch(dtype="float64", count=8):
    random = np.random.default_rng(1)
    return random.normal(0, 1, (count, DIM)).astype(dtype), random.integers(0, CLASSES, count)


def run(head, features, labels, rows=None):
    leaf = paddle.to_tensor(features, stop_gradient=False)
    head.sample = lambda *_, **__: rows
    head.begin_step(labels, step=0)
    output = head(leaf, labels)
    output.loss.backward()
    gradients = leaf.grad.numpy(), head.rows.gradient.whole().numpy()
    head.end_step()
    return output, *gradients


@pytest.mark.parametrize(
    ("ratio", "num_classes", "rank", "size", "num_sample"),
    [
        (0.1, 93431, 0, 8, 1167),
        (0.1, 93431, 7, 8, 1167),
        (0.2, 2059906, 0, 8, 51497),
        (0.3, 2059906, 7, 8, 77246),
        (0.5, 10, 0, 4, 1),
        (0.5, 10, 3, 4, 1),
        (0.01, 10, 0, 1, 1),
    ],
)
def test_number_of_sampled_classes(ratio, num_classes, rank, size, num_sample):
    shard = RowShard(num_classes, rank, size)
    head = PartialFC(ClassCentres(shard, 1, {}), [], sample_ratio=ratio)
    assert head.num_sample() == num_sample


def rows_of_step(head, labels, step):
    head.begin_step(labels, step=step)
    rows = head.rows.numbers.tolist()
    head.end_step()
    return rows


def test_rows_are_a_function_of_seed_step_and_rank():
    labels = np.array([3, 5, 3])
    first, again = (head_of(sample_ratio=0.5, seed=7) for _ in range(2))
    drawn = [rows_of_step(first, labels, step) for step in range(6)]
    assert all(len(rows) == 20 and {3, 5} <= set(rows) for rows in drawn)
    assert len({tuple(rows) for rows in drawn}) == 6
    assert rows_of_step(again, labels, 4) == drawn[4]  # without the steps before it
    assert rows_of_step(head_of(sample_ratio=0.5, seed=8), labels, 4) != drawn[4]
    ranks = [
        head_of(sample_ratio=0.5, seed=7, num_classes=2 * CLASSES, rank=rank, size=2)
        for rank in range(2)
    ]
    elsewhere = np.array([2 * CLASSES])
    assert rows_of_step(ranks[0], elsewhere, 0) != rows_of_step(ranks[1], elsewhere, 0)


def test_all_classes_without_sampling():
    head = head_of(sample_ratio=1.0)
    head.begin_step(np.array([1]), step=0)
    assert head.rows.numbers is None


@pytest.mark.parametrize("sparse_update", [True, False])
def test_only_sampled_classes_are_in_the_softmax(sparse_update):
    features, labels = batch()
    rows = np.unique(np.concatenate([labels, [0, 39]]))
    head = head_of(sparse_update=sparse_update)
    output, feature_gradient, gradient = run(head, features, labels, rows)

    small = head_of(num_classes=len(rows))
    small.centres.write("weight", head.centres.read("weight")[rows])
    expected, expected_feature, expected_gradient = run(
        small, features, np.searchsorted(rows, labels)
    )
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    np.testing.assert_allclose(feature_gradient, expected_feature, atol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-10)


@pytest.mark.parametrize("margins", [{"m1": 1.35}, {"m2": 0.5}, {"m3": 0.4}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_and_parallel_vectors(margins, dtype):
    """Features that are zero, tiny, or equal to a centre or its opposite; a centre that is zero."""
    features, labels = batch(dtype)
    head = head_of(dtype, [(1.0, MarginLoss(**margins))])
    weight = head.centres.read("weight").copy()
    weight[labels[0]] = 0
    head.centres.write("weight", weight)
    features[1] = 0
    features[2] = 1e-20
    features[3] = 1e4 * weight[labels[3]]
    features[4] = -weight[labels[4]]
    features[5] = 1e15
    output, *gradients = run(head, features, labels)
    assert np.isfinite(output.loss.item())
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_loss_does_not_depend_on_the_lengths():
    features, labels = batch()
    head = head_of()
    output, gradient, _ = run(head, features, labels)
    longer, other_gradient, _ = run(head, 50 * features, labels)
    assert longer.loss.item() == pytest.approx(output.loss.item(), rel=1e-8)
    np.testing.assert_allclose(50 * other_gradient, gradient, rtol=1e-6)
    np.testing.assert_allclose((gradient * features).sum(axis=1), 0, atol=1e-9)


def test_vector_norms():
    vectors = paddle.to_tensor([[3.0, 4.0], [0.0, 0.0]], dtype="float64", stop_gradient=False)
    norms = vector_norms(vectors)
    norms.sum().backward()
    np.testing.assert_allclose(norms.numpy(), [[5], [1e-6]], rtol=1e-9)
    np.testing.assert_allclose(vectors.grad.numpy(), [[0.6, 0.8], [0, 0]], rtol=1e-9)


def test_half_precision_features_are_computed_in_the_dtype_of_the_centres():
    features, labels = batch("float16")
    output, gradient, _ = run(head_of("float32"), features, labels)
    expected, _, _ = run(head_of("float32"), features.astype("float32"), labels)
    assert output.loss.dtype == paddle.float32
    assert output.loss.item() == expected.loss.item()
    assert gradient.dtype == np.float16


class NormPenalty:
    """An extra term and a statistic, as magnitude-aware losses have."""

    def __init__(self, factor, name):
        self.factor, self.name = factor, name

    def __call__(self, cosines, target, feature_norms):
        owned = (target >= 0).astype(cosines.dtype).unsqueeze(1)
        extra = self.factor * (feature_norms * owned).mean()
        return MarginOutput(8.0 * cosines, extra, {self.name: feature_norms.mean()})


def test_extra_terms_and_statistics():
    features, labels = batch()
    plain, gradient, _ = run(head_of(losses=[(1.0, MarginLoss(s=8.0))]), features, labels)
    losses = [(0.5, NormPenalty(0.3, "a")), (0.25, NormPenalty(0.0, "b"))]
    output, found_gradient, _ = run(head_of(losses=losses), features, labels)
    norms = np.linalg.norm(features, axis=1)
    expected = 0.75 * plain.loss.item() + 0.5 * 0.3 * norms.mean()
    assert output.loss.item() == pytest.approx(expected, rel=1e-9)
    pull = 0.5 * 0.3 * features / norms[:, None] / len(norms)
    np.testing.assert_allclose(found_gradient, 0.75 * gradient + pull, rtol=1e-8)
    assert sorted(output.statistics) == ["a", "b", "loss_id", "loss_id_2"]
    assert output.statistics["loss_id"].item() == pytest.approx(plain.loss.item(), rel=1e-9)
    assert output.statistics["a"].item() == pytest.approx(norms.mean(), rel=1e-9)


def test_statistics_of_losses_of_one_kind_are_kept_apart():
    features, labels = batch()
    strong, weak = MagFace(lambda_g=35.0), MagFace(lambda_g=7.0, l_m=0.1)
    both, _, _ = run(head_of(losses=[(0.5, strong), (2.0, MarginLoss()), (3.0, weak)]), *batch())
    for loss, behind in ((strong, ""), (weak, "_3")):
        alone, _, _ = run(head_of(losses=[(1.0, loss)]), features, labels)
        for name, value in alone.statistics.items():
            assert both.statistics[name + behind].item() == pytest.approx(value.item(), rel=1e-12)
    assert both.statistics["loss_mag"].item() != both.statistics["loss_mag_3"].item()
    assert len(both.statistics) == 2 * len(alone.statistics)


@pytest.mark.parametrize("loss", [MagFace(u_a=600.0), MagCosFace(u_a=600.0), AdaFace()])
def test_lengths_of_half_precision_features(loss):
    """Autocast gives float16, in which the squares of these would be infinite."""
    features, labels = batch("float32")
    half = (400 * features / np.linalg.norm(features, axis=1, keepdims=True)).astype("float16")
    found, gradient, _ = run(head_of("float32", [(1.0, loss)]), half, labels)
    exact = half.astype("float64")
    length = np.sort(np.linalg.norm(exact, axis=1))[4]
    assert found.statistics["magnitude_p50"].dtype == paddle.float32
    assert found.statistics["magnitude_p50"].item() == pytest.approx(length, rel=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [MagFace(), AdaFace()])
def test_features_of_a_frozen_backbone(loss):
    """Nobody asks for their gradient, nor for that of their lengths."""
    features, labels = batch()
    head = head_of(losses=[(1.0, loss)])
    head.begin_step(labels, step=0)
    head(paddle.to_tensor(features), labels).loss.backward()
    assert np.abs(head.rows.gradient.whole().numpy()).sum() > 0


def test_end_step_lets_the_rows_go():
    head = head_of()
    before = head.centres.read("weight").copy()
    run(head, *batch(), np.arange(CLASSES))
    assert head.rows is None
    np.testing.assert_array_equal(head.centres.read("weight"), before)
    with pytest.raises(AssertionError):
        head(paddle.to_tensor(batch()[0]), paddle.to_tensor(batch()[1]))
