"""Recomputation changes memory and time, and nothing else."""

import copy
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.distributed.fleet.utils import recompute
from small_networks import small_face_vit

from plsc.distributed.recompute import apply_recompute
from plsc.errors import UserError
from plsc.nn.layers import DropPath
from plsc.recognition.models.iresnet import IResNet


class Block(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2D(4)
        self.dropout = nn.Dropout(0.3)
        self.drop_path = DropPath(0.5)
        self.runs = 0

    def forward(self, maps):
        self.runs += 1
        return maps + self.drop_path(self.dropout(self.bn(self.conv(maps))))


class Outer(nn.Layer):
    def __init__(self):
        super().__init__()
        self.inner = nn.LayerList([Block(), Block()])

    def forward(self, maps):
        return self.inner[1](self.inner[0](maps))


class Toy(nn.Layer):
    """Two lists, one of them with a list within; `stem` reads the images."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4))
        self.stage1 = nn.LayerList([Block() for _ in range(5)])
        self.stage2 = nn.LayerList([Outer()])

    def forward(self, images):
        maps = self.stem(images)
        for block in (*self.stage1, *self.stage2):
            maps = block(maps)
        return maps.mean([2, 3])

    def runs(self):
        outer = self.stage2[0].inner
        return [block.runs for block in self.stage1], [block.runs for block in outer]


def images(size=12, batch=4, seed=0):
    values = np.random.default_rng(seed).normal(size=(batch, 3, size, size))
    return paddle.to_tensor(values.astype(np.float32))


def loss_of(model, batch):
    features = model(batch)
    weights = np.random.default_rng(5).normal(size=features.shape).astype(np.float32)
    return (features * paddle.to_tensor(weights)).sum()


def train(model, *, size, steps=2, micro_batches=1):
    """Everything that a run leaves behind: losses, gradients, state, the next random number."""
    model.train()
    paddle.seed(9)
    optimizer = paddle.optimizer.Momentum(0.001, parameters=model.parameters())
    losses, gradients = [], {}
    for step in range(steps):
        for micro in range(micro_batches):
            loss = loss_of(model, images(size, seed=10 * step + micro))
            loss.backward()
            losses.append(loss.numpy())
        gradients = {
            name: parameter.grad.numpy()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
        optimizer.step()
        optimizer.clear_grad()
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    return losses, gradients, state, paddle.rand([3]).numpy()


class SmallIResNet(IResNet):
    depths = (2, 1, 1, 1)


def small_iresnet():
    return SmallIResNet(32, dropout=0.2)


def small_magface():
    return SmallIResNet(32, dropout=0.4, dropout_of="channels", feature_scale="trained")


def dropping_face_vit():
    return small_face_vit(16, 3, 32, mask_ratio=0.25, drop_path_rate=0.5)


@pytest.mark.parametrize(
    ("build", "size", "names", "micro_batches", "count"),
    [
        (Toy, 12, (), 1, 6),
        (Toy, 12, ("stem",), 2, 7),
        (small_iresnet, 112, ("bn2", "features"), 1, 7),
        (small_magface, 112, ("bn2", "dropout"), 1, 7),
        (dropping_face_vit, 112, (), 1, 3),
    ],
)
def test_training_is_the_same_to_the_last_bit(build, size, names, micro_batches, count):
    paddle.seed(3)
    plain = build()
    recomputed = build()
    recomputed.set_state_dict(plain.state_dict())
    assert apply_recompute(recomputed, names=names) == count
    losses, gradients, state, random = train(plain, size=size, micro_batches=micro_batches)
    got = train(recomputed, size=size, micro_batches=micro_batches)
    np.testing.assert_array_equal(losses, got[0])
    assert gradients.keys() == got[1].keys() and state.keys() == got[2].keys()
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, got[1][name], err_msg=name)
    for key, value in state.items():  # running statistics among them
        np.testing.assert_array_equal(value, got[2][key], err_msg=key)
    np.testing.assert_array_equal(random, got[3])
    statistics = [value for key, value in state.items() if key.endswith("_mean")]
    assert all(np.abs(value).max() > 0 for value in statistics)


@pytest.mark.parametrize(
    ("interval", "names", "count", "runs"),
    [
        (1, (), 6, ([2, 2, 2, 2, 2], [2, 2])),
        (2, (), 4, ([2, 1, 2, 1, 2], [2, 2])),
        (3, (), 3, ([2, 1, 1, 2, 1], [2, 2])),
        (9, ("stage1",), 6, ([2, 2, 2, 2, 2], [2, 2])),
        (9, ("stage1.3", "stage1.3", "stage1.3.conv"), 3, ([2, 1, 1, 2, 1], [2, 2])),
    ],
)
def test_chosen_layers_run_twice_and_others_once(interval, names, count, runs):
    model = Toy()
    assert apply_recompute(model, layerlist_interval=interval, names=names) == count
    loss = loss_of(model, images())
    assert model.runs() == ([1] * 5, [1] * 2)
    loss.backward()
    assert model.runs() == runs


def test_without_gradients_a_layer_runs_once_and_keeps_nothing():
    model = Toy()
    apply_recompute(model, names=["stem"])
    with paddle.no_grad():
        model(images())
    model.eval()
    model(images()).sum().backward()
    assert model.runs() == ([2] * 5, [2] * 2)
    model.train()
    for parameter in model.parameters():
        parameter.stop_gradient = True
    assert model(images()).stop_gradient
    assert model.runs() == ([3] * 5, [3] * 2)


def test_a_layer_that_reads_the_images_is_recomputed_without_a_warning(caplog):
    # paddle's logger does not propagate, so the capturing handler is put on it directly
    logger = logging.getLogger("paddle.distributed.fleet.utils.log_util")
    logger.addHandler(caplog.handler)
    try:
        recompute(nn.Linear(3, 3), paddle.ones([2, 3]), use_reentrant=False)
        assert len(caplog.records) == 1  # what would appear at every step
        model = Toy()
        apply_recompute(model, names=["stem"])
        loss_of(model, images()).backward()
    finally:
        logger.removeHandler(caplog.handler)
    assert model.stem[0].weight.grad is not None
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stage3", r"Toy has no layer 'stage3'; did you mean 'stage[12]'\?"),
        ("stage1.7", r"no layer 'stage1\.7'; did you mean 'stage1\.\d'\?"),
        ("zzz", r"no layer 'zzz'; known: stage1, stage2, stem$"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        apply_recompute(Toy(), names=[name])


def test_a_copy_trains_its_own_weights():
    model = Toy()
    apply_recompute(model)
    other = copy.deepcopy(model)
    loss_of(other, images()).backward()
    assert model.runs() == ([0] * 5, [0] * 2)
    assert model.stage1[0].conv.weight.grad is None
    assert other.stage1[0].conv.weight.grad is not None


MEMORY = """
from pathlib import Path
import paddle
from paddle import nn
from plsc.distributed.recompute import apply_recompute

class Block(nn.Layer):
    def forward(self, x):
        for _ in range(6):
            x = (x * self.scale).tanh()
        return x
    def __init__(self):
        super().__init__()
        self.scale = self.create_parameter([1])

class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.blocks = nn.LayerList([Block() for _ in range(8)])
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x

def peak(net, size):
    net(paddle.ones([size])).mean().backward()
    # not getrusage: its figure begins at the size of the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))  # KiB

plain, recomputed = Net(), Net()
apply_recompute(recomputed)
size = 2**20
before = max(peak(plain, 8), peak(recomputed, 8))
with_recompute = peak(recomputed, size)  # first: the peak of a process never falls
print(with_recompute - before, peak(plain, size) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_activations_are_not_kept():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=120, check=True
    )
    recomputed, plain = map(int, done.stdout.split())
    # 8 blocks of 6 tensors of 4 MiB: all of them, or 8 inputs and one block's
    assert plain > 8 * 6 * 4096 * 0.9
    assert recomputed < 0.5 * plain
