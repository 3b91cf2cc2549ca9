"""Training under emulated O1: layers, backbones, losses, and the way of the loss scale."""

import numpy as np
import paddle
import pytest
from filled_nets import filled
from half_precision import emulate
from paddle import nn
from small_training import faces, training_of

from plsc.config.registry import BACKBONES, LOSSES
from plsc.distributed.sharding import RowShard
from plsc.engine.precision import LossScaler, Precision
from plsc.engine.trainer import train_step
from plsc.errors import UserError
from plsc.optimizer.adamw import AdamW
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.losses.margin import MarginLoss

CLASSES, DIM, BATCH = 8, 16, 6
IN_THE_SUITE = ("IResNet18", "MobileFaceNet_base", "FaceViT_tiny_patch9_112", "QuickFace_nano")


@pytest.fixture
def half(monkeypatch):
    return emulate(monkeypatch)


def made(net, *, level="O1", dtype="float16", rule=None, loss=None, dim=DIM, scaler=None):
    """A training whose precision has been told that it is on a GPU."""
    rule = rule or Momentum(0.9, 5e-4)
    weight = np.random.default_rng(1).normal(0, 0.1, (CLASSES, dim)).astype("float32")
    centres = ClassCentres.of(RowShard(CLASSES), weight, state_names=rule.state_names)
    head = PartialFC(centres, [(1.0, loss or MarginLoss(m2=0.3, s=16.0))])
    precision = Precision(
        level=level, dtype=dtype, device="gpu", scaler=scaler or LossScaler(scale=1024.0)
    )
    return training_of(net, head, rule, scaler=precision.scaler, precision=precision)


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.first, self.norm, self.last = nn.Linear(12, 32), nn.BatchNorm1D(32), nn.Linear(32, DIM)
        for layer in (self.first, self.last):
            layer.weight.set_value(random.normal(0, 0.3, layer.weight.shape).astype("float32"))

    def forward(self, images):
        return self.last(paddle.tanh(self.norm(self.first(images.flatten(1)))))


def batch(step, shape=(3, 2, 2), count=BATCH):
    random = np.random.default_rng(step)
    return faces(random.normal(0, 1, (count, *shape)).astype("float32"), np.arange(count) % CLASSES)


def trained(training, steps, lr=0.05):
    reports = []
    for step in range(steps):
        reports.append(train_step(training, batch(step % 3), lr=lr))
        training.progress.advance()
    return reports


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 2**-9), ("bfloat16", 2**-6)])
def test_embedding_layers_long_sums_survive_half_precision(half, dtype, bound):
    """25,088 terms of a BatchNorm's size add up to an output that half precision holds."""
    paddle.seed(1)
    layer, x = nn.Linear(25088, 512), paddle.randn([8, 25088])
    expected = layer(x).numpy()
    with paddle.amp.auto_cast(level="O1", dtype=dtype):
        found = layer(x)
    assert 0 < np.linalg.norm(found.numpy() - expected) / np.linalg.norm(expected) < bound
    (found.sum() * 27648.0 / 512).backward()
    assert np.isfinite(layer.weight.grad.numpy()).all()


SUMS = {"IResNet18": 8, "MobileFaceNet_base": 12}  # residuals of two half precision tensors


def a_step(name, level):
    net = filled(BACKBONES.get(name, "Model.name")(num_features=DIM))
    net.train()
    training = made(net, level=level)
    report = train_step(training, batch(5, (3, 112, 112), 4), lr=0.0)
    return report, net


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in IN_THE_SUITE else pytest.mark.slow)
        for name in BACKBONES.names()
    ],
)
def test_a_step_of_a_backbone_is_close_to_float32s(half, name):
    """Its products are rounded, the head's are not; loss and gradient hardly differ."""
    expected, _ = a_step(name, "O0")
    assert half.calls == []
    found, net = a_step(name, "O1")
    layers = [each for each in net.sublayers() if isinstance(each, nn.Linear)]
    layers += [e for e in net.sublayers() if isinstance(e, nn.Conv2D) and e._groups == 1]
    attention = 2 * getattr(net, "depth", 0)
    sums = half.calls.count("add")
    assert len(half.calls) - sums == len(layers) + attention
    assert sums == SUMS.get(name, sums)
    assert not found.skipped and found.loss != expected.loss
    assert found.loss == pytest.approx(expected.loss, rel=5e-3)
    assert found.grad_norm == pytest.approx(expected.grad_norm, rel=5e-2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("rule", [Momentum(0.9, 5e-4), AdamW()], ids=["Momentum", "AdamW"])
@pytest.mark.parametrize("loss", LOSSES.names())
def test_thirty_steps_with_every_loss_and_optimizer_follow_float32(half, loss, rule, dtype):
    lr = 0.005 if isinstance(rule, Momentum) else 0.0005
    build = LOSSES.get(loss, "Loss.Train")
    expected = trained(made(Net(), level="O0", rule=rule, loss=build()), 30, lr)
    training = made(Net(), rule=rule, loss=build(), dtype=dtype)
    found = trained(training, 30, lr)
    assert training.precision.scaler.enabled is (dtype == "float16")
    assert len(half.calls) == 60  # two layers
    bound = 0.02 if dtype == "float16" else 0.1
    for one, other in zip(found, expected, strict=True):
        assert not one.skipped
        assert one.loss == pytest.approx(other.loss, rel=bound, abs=bound)
        for name in {"magnitude_p5", "magnitude_p50", "magnitude_p95"} & other.statistics.keys():
            assert one.statistics[name] == pytest.approx(other.statistics[name], rel=bound)


def test_the_scale_falls_until_gradients_fit_and_grows_again(half):
    """From 2^24, where float16's 65,504 is exceeded, by halves; then doubled after good steps."""
    scaler = LossScaler(scale=2.0**24, decr_every_n_nan_or_inf=1, incr_every_n_steps=4)
    training = made(Net(), scaler=scaler)
    before = training.updater.dense.weights["last.weight"].numpy().copy()
    reports = trained(training, 40)
    skipped = [report.skipped for report in reports]
    first = skipped.index(False)
    assert first >= 3 and all(skipped[:first])
    scales = [report.loss_scale for report in reports]
    assert scales[: first + 1] == [2.0 ** (24 - n) for n in range(first + 1)]
    assert scales[first + 4] == 2 * scales[first]
    assert any(skipped[first:])  # it grew too far again, and came back
    assert reports[-1].loss < reports[first].loss
    after = training.updater.dense.weights["last.weight"].numpy()
    assert np.isfinite(after).all() and (after != before).any()


def test_an_overflow_in_the_forward_pass_is_found_before_anything_changes(half):
    """Activations beyond 65,504 give a loss that is not finite, or a gradient that is none."""
    training = made(Net())
    training.network.layer.first.weight.set_value(
        np.full((12, 32), 1e5, np.float32)
    )  # infinite in float16
    before = training.updater.dense.weights["last.weight"].numpy().copy()
    with pytest.raises(UserError, match="the loss is nan"):
        trained(training, 1)
    assert (training.updater.dense.weights["last.weight"].numpy() == before).all()
