"""The optimizer step of backbone and head: unscaled, clipped, decayed, or skipped whole."""

import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.distributed.sharding import RowShard
from plsc.engine.precision import LossScaler
from plsc.engine.update import Updater, read_scalars
from plsc.optimizer.adamw import AdamW
from plsc.optimizer.arrangement import trained_parameters
from plsc.optimizer.clip import ClipGradByGlobalNorm, ClipGradByNorm, ClipGradByValue
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.models.iresnet import IResNet18

pytestmark = pytest.mark.usefixtures("arrangement")

CLASSES, LR = 6, 0.1
NAMES = ("weight", "bias")
HEAD = PartialFC.name


def made(rule=None, rows=None, frozen=(), lr_multiplier=1.0, **options):
    """An updater over one linear layer [3, 2] and six classes, on which `rows` are in use."""
    rule = rule or Momentum(0.9, 0.05)
    random = np.random.default_rng(0)
    net = nn.Linear(3, 2)
    net.weight.set_value(random.normal(0, 1, (3, 2)).astype("float32"))
    net.bias.set_value(random.normal(0, 1, 2).astype("float32"))
    weight = random.normal(0, 1, (CLASSES, 2)).astype("float32")
    centres = ClassCentres.of(RowShard(CLASSES), weight, state_names=rule.state_names)
    head = PartialFC(centres, [], lr_multiplier=lr_multiplier)
    options = {"clip": None, "scaler": LossScaler(enabled=False), **options}
    dense = trained_parameters(
        net,
        frozen=frozen,
        state_names=rule.state_names,
        clip=options["clip"],
        no_weight_decay=options.get("no_weight_decay", ()),
    )
    updater = Updater(dense, [head], rule=rule, **options)
    head.use_rows(rows)
    return updater


def arrays(updater):
    """Every weight and every optimizer state."""
    found = {name: weight.numpy().copy() for name, weight in updater.dense.weights.items()}
    found |= {name: values.copy() for name, values in updater.dense.state_arrays().items()}
    centres = updater.sharded[0].centres
    found[HEAD] = centres.read("weight").copy()
    found |= {f"{n}/{HEAD}": centres.read(n).copy() for n in centres.names if n != "weight"}
    return found


def gradients_of(updater, seed=1):
    random = np.random.default_rng(seed)
    shapes = {name: weight.shape for name, weight in updater.dense.weights.items()}
    shapes[HEAD] = updater.sharded[0].rows.weight.shape
    return {name: random.normal(0, 1, shape).astype("float32") for name, shape in shapes.items()}


def backward(updater, gradients, scale=1.0):
    """Leave `gradients` times the loss scale where backward would."""
    parts = [
        (leaf * paddle.to_tensor(gradients[name] * np.float32(scale))).sum()
        for name, leaf in updater.dense.weights.items()
    ]
    sum(parts[1:], parts[0]).backward()
    head_gradient = paddle.to_tensor(gradients[HEAD] * np.float32(scale))
    updater.sharded[0].rows.gradient.assign(head_gradient)


def norm_of(gradients, names):
    return np.sqrt(sum((gradients[name].astype("float64") ** 2).sum() for name in names))


def test_scalars_are_read_as_they_are():
    """In float64 where one is, in any shape of a single value, under their own keys."""
    fine = 1 + 1e-12
    given = {"a": paddle.to_tensor(fine, "float64"), 2: paddle.ones([1]), "c": 3.5}
    assert list(read_scalars(given).items()) == [("a", fine), (2, 1.0), ("c", 3.5)]
    several = {"a": paddle.to_tensor(2.0), "b": paddle.to_tensor([3.0, 4.0]), "c": 3.5}
    assert read_scalars(several) == {"a": 2.0, "b": [3.0, 4.0], "c": 3.5}
    assert read_scalars({}) == {}


def test_several_steps_of_momentum():
    updater = made()
    expected = arrays(updater)
    for step in range(1, 4):
        updater.sharded[0].use_rows(None)
        gradients = gradients_of(updater, step)
        backward(updater, gradients)
        report = updater.step(lr=LR, step=step)
        assert report.grad_norm == pytest.approx(norm_of(gradients, NAMES), rel=1e-6)
        assert (report.overflow, report.non_finite) == (False, "")
        for name, gradient in gradients.items():
            velocity = 0.9 * expected[f"velocity/{name}"] + gradient + 0.05 * expected[name]
            expected[f"velocity/{name}"] = velocity
            expected[name] = expected[name] - LR * velocity
        for name, values in arrays(updater).items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


def test_gradients_do_not_outlive_their_step():
    updater = made()
    backward(updater, gradients_of(updater))
    updater.step(lr=LR, step=1)
    assert updater.dense.gradients() == {}
    assert updater.sharded[0].rows is None
    with pytest.raises(AssertionError):
        updater.step(lr=LR, step=2)


def stepped(clip=None, scale=1.0, seed=1, rule=None, rows=None, lr=LR, step=1, **options):
    """(report, arrays before, arrays after, gradients) of one step."""
    scaler = LossScaler(scale=scale, enabled=scale != 1.0)
    updater = made(rule, rows, clip=clip, scaler=scaler, **options)
    before, gradients = arrays(updater), gradients_of(updater, seed)
    backward(updater, gradients, scale)
    return updater.step(lr=lr, step=step), before, arrays(updater), gradients


@pytest.mark.parametrize("clip", [None, ClipGradByGlobalNorm(0.5, no_clip_list=["dist"])])
def test_unscaling_is_exact(clip):
    """Powers of two: not a bit may differ, whatever the scale."""
    plain, _, expected, _ = stepped(clip)
    for scale in (2.0, 1024.0, 2.0**20):
        report, _, found, _ = stepped(clip, scale)
        assert report.grad_norm == pytest.approx(plain.grad_norm, rel=1e-12)
        for name, values in found.items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)
    _, _, odd, _ = stepped(clip, 27648.0)
    for name, values in odd.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize(
    ("options", "counted", "limit"),
    [
        ({}, (*NAMES, HEAD), 0.5),
        ({"no_clip_list": ["dist"]}, NAMES, 0.5),
        ({"no_clip_list": ["partialfc", "bias"]}, ("weight",), 0.5),
        ({"no_clip_list": ["weight"]}, ("bias",), 0.5),
        ({"always_clip": True}, (*NAMES, HEAD), 100.0),
        ({"always_clip": False}, (), 100.0),
        ({"always_clip": True, "clip_norm_max": 2.0}, (*NAMES, HEAD), 100.0),
    ],
)
def test_clipping(options, counted, limit, scale):
    rule = Momentum(0.0, 0.0)
    report, before, after, gradients = stepped(
        ClipGradByGlobalNorm(limit, **options), scale, rule=rule
    )
    factor = min(limit / (norm_of(gradients, counted) + 1e-6), options.get("clip_norm_max", np.inf))
    for name, gradient in gradients.items():
        change = LR * gradient * (factor if name in counted else 1.0)
        np.testing.assert_allclose(before[name] - after[name], change, rtol=1e-4, atol=1e-5)
    assert report.grad_norm == pytest.approx(norm_of(gradients, NAMES), rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize("spared", [(), ("bias",), (HEAD,), ("weight", "bias")])
def test_clipping_by_each_tensors_own_norm(spared, scale):
    """Limits between the norms, so that some are clipped and some are not."""
    names = ["partialfc" if name == HEAD else name for name in spared]
    spared = (*spared, *([HEAD] if "weight" in spared else []))  # "weight" is in its name, too
    for limit in (0.5, 2.0, 3.0):
        clip = ClipGradByNorm(limit, no_clip_list=names)
        report, before, after, gradients = stepped(clip, scale, rule=Momentum(0.0, 0.0))
        for name, gradient in gradients.items():
            factor = 1.0 if name in spared else min(1.0, limit / norm_of(gradients, [name]))
            np.testing.assert_allclose(
                before[name] - after[name], LR * factor * gradient, rtol=1e-4, atol=1e-5
            )
        assert report.grad_norm == pytest.approx(norm_of(gradients, NAMES), rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize("spared", [(), ("bias",), (HEAD,)])
def test_clipping_by_value(spared, scale):
    names = ["partialfc" if name == HEAD else name for name in spared]
    clip = ClipGradByValue(0.5, min=-0.25, no_clip_list=names)
    _, before, after, gradients = stepped(clip, scale, rule=Momentum(0.0, 0.0))
    assert all((g > 0.5).any() or (g < -0.25).any() for g in gradients.values())
    for name, gradient in gradients.items():
        kept = gradient if name in spared else gradient.clip(-0.25, 0.5)
        np.testing.assert_allclose(before[name] - after[name], LR * kept, rtol=1e-4, atol=1e-6)


def test_values_are_kept_between_minus_max_and_max_by_default():
    assert ClipGradByValue(0.5).limits == (-0.5, 0.5)


@pytest.mark.parametrize(
    ("names", "spared"),
    [((), ()), (("bias",), ("bias",)), (("partialfc",), (HEAD,)), (("weight",), ("weight", HEAD))],
)
@pytest.mark.parametrize(
    "rule", [Momentum(0.0, 0.5), AdamW(weight_decay=0.5)], ids=lambda rule: type(rule).__name__
)
def test_names_without_decay(rule, names, spared):
    _, _, found, gradients = stepped(rule=rule, no_weight_decay=names)
    bare = type(rule)(weight_decay=0.0)
    _, before, expected, _ = stepped(rule=bare)
    for name in gradients:
        decay = 0.0 if name in spared else LR * 0.5 * before[name]
        np.testing.assert_allclose(found[name], expected[name] - decay, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "rule", [Momentum(0.0, 0.5), AdamW(weight_decay=0.5)], ids=lambda rule: type(rule).__name__
)
def test_the_head_may_learn_at_another_rate(rule):
    _, _, plain, _ = stepped(rule=rule)
    _, _, faster, _ = stepped(rule=rule, lr=10 * LR)
    _, _, found, _ = stepped(rule=rule, lr_multiplier=10.0)
    for name in NAMES:
        np.testing.assert_array_equal(found[name], plain[name])
    np.testing.assert_allclose(found[HEAD], faster[HEAD], rtol=1e-6)
    assert (found[HEAD] != plain[HEAD]).any()


def test_the_rule_is_told_the_step():
    """Adam's first step has length lr whatever the gradient; at step 50 moments are young."""
    _, before, after, gradients = stepped(rule=AdamW(weight_decay=0.0))
    for name, gradient in gradients.items():
        np.testing.assert_allclose(before[name] - after[name], LR * np.sign(gradient), rtol=1e-3)
    _, before, after, gradients = stepped(rule=AdamW(weight_decay=0.0), step=50)
    factor = 0.1 / (1 - 0.9**50) / np.sqrt(0.001 / (1 - 0.999**50))
    for name, gradient in gradients.items():
        change = LR * factor * np.sign(gradient)
        np.testing.assert_allclose(before[name] - after[name], change, rtol=1e-3)


@pytest.mark.parametrize(
    "rule", [Momentum(0.9, 0.05), AdamW()], ids=lambda rule: type(rule).__name__
)
def test_rows_that_are_not_sampled_keep_every_bit(rule):
    rows = np.array([1, 2, 5])
    _, before, after, _ = stepped(rule=rule, rows=rows)
    others = [0, 3, 4]
    for name in [HEAD, *(f"{state}/{HEAD}" for state in rule.state_names)]:
        assert before[name][others].tobytes() == after[name][others].tobytes()
        assert (before[name][rows] != after[name][rows]).all()


@pytest.mark.parametrize("kind", [ClipGradByGlobalNorm, ClipGradByNorm, ClipGradByValue])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", [*NAMES, HEAD])
def test_an_overflow_changes_nothing(where, value, kind):
    scaler = LossScaler(scale=64.0, decr_every_n_nan_or_inf=2)
    updater = made(clip=kind(1.0), scaler=scaler)
    before, gradients = arrays(updater), gradients_of(updater)
    gradients[where].flat[1] = value
    for scale in (64.0, 32.0):
        backward(updater, gradients)
        report = updater.step(lr=LR, step=1)
        assert report.overflow
        assert report.non_finite == where
        assert scaler.scale == scale
        assert updater.dense.gradients() == {}
        for name, values in arrays(updater).items():
            assert values.tobytes() == before[name].tobytes()
        updater.sharded[0].use_rows(None)
    good = gradients_of(updater)
    backward(updater, good, 32.0)
    assert not updater.step(lr=LR, step=2).overflow
    assert scaler.bad_steps == 0
    assert (arrays(updater)["weight"] != before["weight"]).all()


def test_a_frozen_name_neither_moves_nor_counts():
    updater = made(frozen={"weight"}, clip=ClipGradByGlobalNorm(0.5), rule=Momentum(0.0, 0.1))
    net_weight = updater.dense._all[0]
    before, start = arrays(updater), net_weight.numpy().copy()
    gradients = gradients_of(updater)
    (net_weight * 1e3).sum().backward()
    backward(updater, gradients)
    report = updater.step(lr=LR, step=1)
    assert report.grad_norm == pytest.approx(norm_of(gradients, ["bias"]), rel=1e-6)
    np.testing.assert_array_equal(net_weight.numpy(), start)
    assert net_weight.grad is None
    factor = 0.5 / norm_of(gradients, ["bias", HEAD])
    moved = before["bias"] - LR * (factor * gradients["bias"] + 0.1 * before["bias"])
    np.testing.assert_allclose(arrays(updater)["bias"], moved, rtol=1e-4)


def test_the_scale_of_iresnets_features_stays_one():
    """The bias beside it moves, and the norm is that of everything but it."""
    paddle.seed(0)
    backbone, rule = IResNet18(num_features=16), Momentum(0.9, 5e-4)
    dense = trained_parameters(
        backbone,
        frozen=backbone.frozen_names,
        state_names=rule.state_names,
        clip=None,
        no_weight_decay=(),
    )
    weight = np.random.default_rng(0).normal(0, 0.1, (4, 16)).astype("float32")
    head = PartialFC(ClassCentres.of(RowShard(4), weight, state_names=rule.state_names), [])
    updater = Updater(dense, [head], rule=rule, clip=None, scaler=LossScaler(enabled=False))
    head.use_rows(None)
    features = backbone(paddle.randn([2, 3, 112, 112]))
    (features * paddle.randn([2, 16])).sum().backward()
    (head.rows.weight * 2).sum().backward()
    assert backbone.features.weight.grad is not None
    norms = {
        name: float((parameter.grad.astype("float64") ** 2).sum())
        for name, parameter in backbone.named_parameters()
        if parameter.grad is not None and name != "features.weight"
    }
    report = updater.step(lr=LR, step=1)
    assert report.grad_norm == pytest.approx(np.sqrt(sum(norms.values())), rel=1e-5)
    np.testing.assert_array_equal(backbone.features.weight.numpy(), 1.0)
    assert (backbone.features.bias.numpy() != 0).all()
