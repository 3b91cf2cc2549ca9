"""The loop tells the head of the next step's labels, and trains to the bit as without."""

import numpy as np
import paddle
import pytest
from paddle import nn
from small_training import faces, training_of

from plsc.distributed.sharding import RowShard
from plsc.engine.image_transfer import ImageTransfer
from plsc.engine.precision import LossScaler
from plsc.engine.trainer import fit
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.heads.storage import build_centres
from plsc.recognition.losses.margin import MarginLoss

CLASSES, DIM, BATCH, EPOCH = 500, 4, 6, 4


def batch(number):
    random = np.random.default_rng(number)
    images = random.normal(0, 1, (BATCH, 3, 2, 2)).astype("float32")
    return faces(images, random.integers(0, CLASSES, BATCH))


class Loader:
    def __init__(self, said):
        self.said = said

    def batches(self, epoch, consumed):
        for number in range(consumed // BATCH, EPOCH):
            self.said.append(("read", epoch, number))
            yield batch(10 * epoch + number)


class Around:
    """Notes the order of things; stops after `stop_at` steps."""

    def __init__(self, training, said, stop_at):
        self.training, self.said, self.stop_at, self.losses = training, said, stop_at, []

    def now(self):
        return self.training.progress.step == self.stop_at

    def epoch(self, batches):
        return batches

    def step_ends(self, report):
        self.said.append(("step", self.training.progress.step))
        self.losses.append(report.loss)

    def nothing(self, *said):
        pass

    step_begins = epoch_ends = after = save = nothing

    def run_ends(self):
        self.said.append("end")


def made(folder, storage, scale=1.0):
    paddle.seed(0)
    net, rule = nn.Sequential(nn.Flatten(), nn.Linear(12, DIM)), Momentum(0.9, 0.01)
    centres = build_centres(
        RowShard(CLASSES),
        DIM,
        state_names=rule.state_names,
        storage=storage,
        dtype="bfloat16",
        folder=folder,
        seed=1,
    )
    head = PartialFC(centres, [(1.0, MarginLoss(m2=0.3, s=8.0))], sample_ratio=0.5)
    progress = {"epochs": 2, "num_images": 24, "steps_per_epoch": EPOCH, "global_batch": BATCH}
    said = []
    scaler = LossScaler(scale=scale, decr_every_n_nan_or_inf=1)
    return training_of(net, head, rule, scaler=scaler, loader=Loader(said), progress=progress), said


def trained(training, said, *, stop_at=None):
    around = Around(training, said, stop_at)
    fit(training, recorder=around, evaluation=around, checkpoints=around, stopping=around)
    return around.losses


@pytest.fixture
def announced(monkeypatch):
    """What the head was told of later steps."""
    told, prefetch = [], PartialFC.prefetch

    def note(self, labels, *, step, fraction):
        told.append((step, labels.tolist()))
        prefetch(self, labels, step=step, fraction=fraction)

    monkeypatch.setattr(PartialFC, "prefetch", note)
    return told


def test_the_next_labels_are_told(tmp_path, announced):
    training, said = made(tmp_path, "file")
    trained(training, said)
    expected = [
        (e * EPOCH + n, batch(10 * e + n)["labels"].tolist()) for e in (0, 1) for n in (1, 2, 3)
    ]
    assert announced == expected
    assert said[:5] == [("read", 0, 0), ("read", 0, 1), ("step", 1), ("read", 0, 2), ("step", 2)]
    assert said[-4:] == [("read", 1, 3), ("step", 7), ("step", 8), "end"]
    assert training.progress.finished


def test_nothing_is_read_ahead_for_centres_in_memory(tmp_path, announced):
    training, said = made(tmp_path, "device")
    trained(training, said)
    assert not announced
    assert said[:4] == [("read", 0, 0), ("step", 1), ("read", 0, 1), ("step", 2)]


def test_images_that_are_sent_ahead_are_read_ahead(tmp_path, announced):
    """Every batch but the first of an epoch; a head that has no use for it is not told."""
    training, said = made(tmp_path, "device")
    training.images = ImageTransfer(ahead=True)
    sent, send = [], training.images.send
    training.images.send = lambda batch: sent.append(batch["labels"].tolist()) or send(batch)
    losses = trained(training, said)
    assert not announced
    assert said[:4] == [("read", 0, 0), ("read", 0, 1), ("step", 1), ("read", 0, 2)]
    assert sent == [batch(10 * e + n)["labels"].tolist() for e in (0, 1) for n in (1, 2, 3)]
    assert losses == trained(*made(tmp_path, "device"))


def test_training_is_the_same_stopped_or_not_and_without(tmp_path, monkeypatch):
    scale = 2.0**57  # the first squares of gradients overflow: their steps are skipped
    whole = made(tmp_path, "file", scale=scale)
    losses = trained(*whole)
    halves = made(tmp_path, "file", scale=scale)
    found = trained(*halves, stop_at=3)
    assert halves[0].progress.position == (0, 3 * BATCH)
    assert found + trained(*halves) == losses
    monkeypatch.setattr(PartialFC, "prefetch", lambda self, labels, **when: None)
    without = made(tmp_path, "file", scale=scale)
    assert trained(*without) == losses
    assert without[0].precision.scaler.scale < scale
    assert whole[0].task.head.centres.read("velocity").any()  # later ones are taken
    for training, _ in (halves, without):
        for name in ("weight", "velocity"):
            np.testing.assert_array_equal(
                training.task.head.centres.read(name), whole[0].task.head.centres.read(name)
            )
