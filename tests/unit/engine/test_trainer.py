"""The loop and its step in one process; tests/distributed holds the step on several ranks."""

import contextlib

import numpy as np
import paddle
import pytest
from paddle import nn
from small_training import faces, training_of

from plsc.distributed.data_parallel import DataParallel
from plsc.distributed.sharding import RowShard
from plsc.engine.image_transfer import ImageTransfer
from plsc.engine.precision import LossScaler
from plsc.engine.trainer import fit, train_step
from plsc.errors import UserError
from plsc.optimizer.clip import ClipGradByGlobalNorm
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.losses.margin import MarginLoss, MarginOutput

pytestmark = pytest.mark.usefixtures("arrangement")

CLASSES, DIM, BATCH = 9, 4, 12


class Net(nn.Layer):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.first, self.last = nn.Linear(12, 6), nn.Linear(6, DIM)
        self.drop = nn.Dropout(dropout)
        random = np.random.default_rng(0)
        for parameter in self.parameters():
            parameter.set_value(random.normal(0, 0.5, parameter.shape).astype("float32"))

    def forward(self, images):
        return self.last(self.drop(paddle.tanh(self.first(images.flatten(1)))))


def made(*, net=None, losses=None, rule=None, head=None, **options):
    net, rule = net or Net(), rule or Momentum(0.9, 0.01)
    weight = np.random.default_rng(1).normal(0, 0.1, (CLASSES, DIM)).astype("float32")
    centres = ClassCentres.of(RowShard(CLASSES), weight, state_names=rule.state_names)
    head = PartialFC(centres, losses or [(1.0, MarginLoss(m2=0.3, s=8.0))], **(head or {}))
    progress = {"epochs": 3, "num_images": 40, "steps_per_epoch": 4, "global_batch": BATCH}
    return training_of(net, head, rule, progress=progress, **options)


def batch(seed=2, count=BATCH):
    random = np.random.default_rng(seed)
    images = random.normal(0, 1, (count, 3, 2, 2)).astype("float32")
    return faces(images, random.integers(0, CLASSES, count))


def trained(training, steps=3, lr=0.1):
    """Reports of steps on batches that differ, and the weights after them."""
    reports = []
    for step in range(steps):
        reports.append(train_step(training, batch(step), lr=lr))
        training.progress.advance()
    weights = {name: w.numpy() for name, w in training.updater.dense.weights.items()}
    return reports, {**weights, "head": training.task.head.centres.read("weight").copy()}


def assert_alike(found, expected, tolerance):
    for one, other in zip(found[0], expected[0], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=tolerance)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=tolerance)
    for name, values in expected[1].items():
        difference = np.linalg.norm(found[1][name] - values)
        assert difference <= tolerance * np.linalg.norm(values), name


@pytest.mark.parametrize("parts", [2, 3, 12])
@pytest.mark.parametrize("ratio", [1.0, 0.9])
def test_accumulation_equals_the_large_batch(parts, ratio):
    clip = ClipGradByGlobalNorm(0.1)
    whole = trained(made(clip=clip, head={"sample_ratio": ratio}))
    split = trained(made(clip=clip, head={"sample_ratio": ratio}, accum_steps=parts))
    assert_alike(split, whole, 1e-5)
    assert len({report.loss for report in whole[0]}) == 3


@pytest.mark.parametrize("parts", [1, 3])
def test_the_loss_scale_changes_nothing_but_itself(parts):
    plain = trained(made(accum_steps=parts))
    scaled = trained(made(accum_steps=parts, scaler=LossScaler(scale=4096.0)))
    assert_alike(scaled, plain, 1e-6)
    assert [report.loss_scale for report in plain[0]] == [1.0] * 3
    assert [report.loss_scale for report in scaled[0]] == [4096.0] * 3
    assert not any(report.skipped for report in scaled[0])


@pytest.mark.parametrize("parts", [1, 3])
def test_what_a_step_reports(parts):
    """Of parts of a batch, the mean of what each says."""
    losses = [(1.0, lambda c, t, n: MarginOutput(c, None, {"norm": n.mean()}))]
    training = made(losses=losses, accum_steps=parts)
    given = batch()
    features = training.network(paddle.to_tensor(given["images"])).numpy()
    report = train_step(training, given, lr=0.25)
    norms = np.linalg.norm(features, axis=1)
    assert report.statistics == {"norm": pytest.approx(norms.mean(), rel=1e-5)}
    assert (report.lr, report.skipped) == (0.25, False)
    weight = np.random.default_rng(1).normal(0, 0.1, (CLASSES, DIM))
    cosines = (features / norms[:, None]) @ (weight / np.linalg.norm(weight, axis=1)[:, None]).T
    chances = np.exp(cosines) / np.exp(cosines).sum(axis=1, keepdims=True)
    loss = -np.log(chances[np.arange(BATCH), given["labels"]]).mean()
    assert report.loss == pytest.approx(loss, rel=1e-5)


def test_one_update_a_step_after_the_one_backward_that_reduces():
    training, said = made(accum_steps=3), []
    synchronised, update = training.network.synchronised, training.updater.step

    def note(last):
        said.append(last)
        return synchronised(last)

    def updated(*, lr, step, squares):
        said.append((lr, step))
        return update(lr=lr, step=step, squares=squares)

    training.network.synchronised, training.updater.step = note, updated
    training.progress.step = 4
    train_step(training, batch(), lr=0.1)
    assert said == [False, False, True, (0.1, 5)]  # an optimizer counts from 1


@pytest.mark.parametrize("parts", [1, 3])
def test_images_that_were_sent_ahead_change_nothing(parts, monkeypatch):
    """They leave when all of a step is launched and nothing is waited for yet."""
    batches = [batch(step) for step in range(4)]

    def run(ahead):
        training = made(accum_steps=parts, images=ImageTransfer(ahead=ahead))
        said = []
        for owner, name in (
            (training.images, "send"),
            (training.updater, "squares"),
            (training.updater, "step"),
        ):
            monkeypatch.setattr(owner, name, noting(said, name, getattr(owner, name)))
        for step in range(3):
            train_step(training, batches[step], lr=0.1, upcoming=batches[step + 1])
            training.progress.advance()
        weights = [w.numpy().tobytes() for w in training.updater.dense.weights.values()]
        return weights, said[:3]

    plain, order = run(ahead=False)
    assert order == ["squares", "step", "squares"]
    assert run(ahead=True) == (plain, ["squares", "send", "step"])


def noting(said, name, function):
    def call(*arguments, **named):
        said.append(name)
        return function(*arguments, **named)

    return call


def test_an_overflow_is_reported_and_the_scale_lowered():
    training = made(scaler=LossScaler(scale=2.0**126, decr_every_n_nan_or_inf=1))
    training.task.head.losses[0] = (1e4, training.task.head.losses[0][1])
    before = {name: w.numpy().copy() for name, w in training.updater.dense.weights.items()}
    report = train_step(training, batch(), lr=0.1)
    assert report.skipped
    assert np.isfinite(report.loss)
    assert report.loss_scale == 2.0**126
    assert training.precision.scaler.scale == 2.0**125
    for name, weight in training.updater.dense.weights.items():
        np.testing.assert_array_equal(weight.numpy(), before[name])


def spoil(training, kind, images):
    if kind == "images":
        images[3, 0, 1, 1] = np.nan
    elif kind == "head.weight":
        values = training.task.head.centres.read("weight").copy()
        values[5] = np.nan
        training.task.head.centres.write("weight", values)
    elif kind == "network first.weight":
        weight = training.updater.dense.weights["first.weight"]
        weight.set_value(np.full(weight.shape, np.inf, "float32"))
    else:
        training.network = lambda x, network=training.network: network(x) * float("nan")
        training.network.synchronised = DataParallel(Net()).synchronised


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("images", "1 of 144"),
        ("network first.weight", "72 of 72"),
        ("output", "48 of 48"),
        ("head.weight", "4 of 36"),
    ],
)
def test_the_first_number_that_is_not_finite_stops_the_run(kind, count):
    training = made()
    training.progress.step = 6
    given = batch()
    spoil(training, kind, given["images"])
    with pytest.raises(UserError, match=r"^step 7: the loss is nan; rank 0 on ") as caught:
        train_step(training, given, lr=0.1)
    assert f": {kind} ({count} values are nan or inf); lower the learning rate" in str(caught.value)


def test_the_part_that_is_not_finite_is_the_one_that_is_looked_at():
    training, given = made(accum_steps=2), batch()
    spoil(training, "images", given["images"])
    with pytest.raises(UserError, match=r"rank 0 on .*: images \(1 of \d+ values are nan or inf\)"):
        train_step(training, given, lr=0.1)


def test_a_gradient_that_overflows_without_a_loss_scale_stops_the_run():
    training = made(losses=[(1e30, MarginLoss(s=1.0))])  # its square is above float32
    with pytest.raises(UserError, match=r"^step 1: the gradient of .*weight.* is not finite; all"):
        train_step(training, batch(), lr=0.1)


def test_random_numbers_are_a_function_of_seed_and_step():
    def losses(order, seed):
        training, found = made(net=Net(dropout=0.5), seed=seed), {}
        for step in order:
            training.progress.step = step
            found[step] = train_step(training, batch(), lr=0.0).loss
        return found

    forward = losses([0, 1, 2], seed=3)
    assert losses([2, 0, 1], seed=3) == forward
    assert len(set(forward.values())) == 3
    assert losses([0], seed=4)[0] != forward[0]


def test_sampling_follows_the_step():
    training = made(head={"sample_ratio": 0.9, "seed": 5})
    seen = []
    use_rows = training.task.head.use_rows
    training.task.head.use_rows = lambda rows: (seen.append(rows.tolist()), use_rows(rows))
    labels = np.zeros(BATCH, np.int64)
    for step in (0, 1, 0, 2):
        training.progress.step = step
        train_step(training, faces(batch()["images"], labels), lr=0.0)
    assert seen[0] == seen[2]
    assert len({tuple(rows) for rows in seen}) > 1


@pytest.mark.parametrize("parts", [1, 3])
def test_a_frozen_backbone_stays_and_the_head_learns(parts):
    """The head's first step is the one that it takes above a backbone that learns, too."""
    net, rule = Net(), Momentum(0.9)
    for parameter in net.parameters():
        parameter.stop_gradient = True
    training = made(net=net, accum_steps=parts, rule=rule)
    training.frozen = True
    before = [parameter.numpy().copy() for parameter in net.parameters()]
    report = train_step(training, batch(), lr=0.1)
    assert report.grad_norm == 0.0
    for parameter, values in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.numpy(), values)
    other = made(accum_steps=parts, rule=rule)
    begun = other.task.head.centres.read("weight").copy()
    train_step(other, batch(), lr=0.1)
    learnt = training.task.head.centres.read("weight")
    np.testing.assert_array_equal(learnt, other.task.head.centres.read("weight"))
    assert (learnt != begun).all()


@pytest.mark.parametrize("frozen", [False, True])
def test_the_network_alone_runs_in_the_steps_precision(frozen):
    training, found = made(), []
    training.frozen = frozen
    network, loss = training.network, training.task.loss

    @contextlib.contextmanager
    def autocast():
        found.append("enter")
        yield
        found.append("exit")

    def forward(images):
        found.append(("network", paddle.is_grad_enabled()))
        return network(images)

    def of_loss(outputs, part):
        found.append(("loss", paddle.is_grad_enabled()))
        return loss(outputs, part)

    forward.synchronised = network.synchronised
    training.network, training.task.loss = forward, of_loss
    training.precision.autocast = autocast
    train_step(training, batch(), lr=0.1)
    assert found == ["enter", ("network", not frozen), "exit", ("loss", True)]


class Around:
    """Stands for all that `fit` tells of its steps; says stop where it is asked to."""

    def __init__(self, training, stop_at=None, stop_after_epoch=None):
        self.training, self.stop_at, self.stop_after_epoch = training, stop_at, stop_after_epoch
        self.said, self.rates, self.order, self.saved = [], [], [], 0

    def now(self):
        progress = self.training.progress
        ended = self.stop_after_epoch is not None and progress.position == (
            self.stop_after_epoch,
            0,
        )
        return progress.step == self.stop_at or ended

    def epoch(self, batches):
        self.said.append("epoch")
        return batches

    def step_begins(self):
        self.order.append("begins")

    def step_ends(self, report):
        self.order.append("ends")
        self.rates.append(report.lr)
        self.said.append(self.training.progress.step)

    def epoch_ends(self):
        self.said.append("after")

    def save(self):
        self.saved += 1

    def heard_by(self, name):
        """What `fit` knows as `name`, and tells when a step or an epoch is over."""

        class Heard:
            save = self.save

            @staticmethod
            def after(what):
                self.order.append((name, what))

        return Heard()

    def run_ends(self):
        self.said.append("end")


class Batches:
    """Four batches an epoch; notes where it was asked to begin."""

    def __init__(self):
        self.asked = []

    def batches(self, epoch, consumed):
        self.asked.append((epoch, consumed))
        for number in range(consumed // BATCH, 4):
            yield batch(10 * epoch + number)


def fitted(training, **options):
    training.loader, training.schedule = Batches(), lambda time: time / 100
    around = Around(training, **options)
    told = {name: around.heard_by(name) for name in ("evaluation", "checkpoints")}
    fit(training, recorder=around, stopping=around, **told)
    return around


def test_fit():
    training = made()
    around = fitted(training)
    assert around.said == [
        *("epoch", 1, 2, 3, 4, "after"),
        *("epoch", 5, 6, 7, 8, "after"),
        *("epoch", 9, 10, 11, 12, "after"),
        "end",
    ]
    assert around.rates == [step / 100 for step in range(12)]
    assert training.loader.asked == [(0, 0), (1, 0), (2, 0)]
    assert training.progress.finished
    assert around.saved == 0  # the last epoch's end has saved it


def test_the_order_around_a_step_and_an_epoch():
    """The best figure is known before a checkpoint records it."""
    around = fitted(made())
    step = ["begins", "ends", ("evaluation", "step"), ("checkpoints", "step")]
    assert around.order == 3 * [*(4 * step), ("evaluation", "epoch"), ("checkpoints", "epoch")]


def test_fit_stops_and_goes_on():
    training = made()
    around = fitted(training, stop_at=6)
    assert around.said == ["epoch", 1, 2, 3, 4, "after", "epoch", 5, 6, "end"]
    assert around.saved == 1
    assert training.progress.position == (1, 2 * BATCH)
    around = fitted(training, stop_after_epoch=2)
    assert around.said == ["epoch", 7, 8, "after", "end"]
    assert training.loader.asked == [(1, 2 * BATCH)]
    assert around.rates == [0.06, 0.07]
    assert fitted(training).said == ["epoch", 9, 10, 11, 12, "after", "end"]
    assert fitted(training).said == ["end"]


def test_fit_that_has_nothing_left_to_do_takes_no_step():
    assert fitted(made(), stop_at=0).said == ["end"]


def test_fit_stopped_at_the_last_step_of_an_epoch():
    """The epoch is not over until its end is told; going on tells it first."""
    training = made()
    assert fitted(training, stop_at=4).said == ["epoch", 1, 2, 3, 4, "end"]
    assert training.progress.position == (0, 4 * BATCH)
    assert fitted(training, stop_at=5).said == ["epoch", "after", "epoch", 5, "end"]


def test_a_scheduled_ratio_follows_the_fraction_of_training():
    """Of 12 steps the last 6 use all classes; a run that goes on in the middle does the same."""
    schedule = {"sample_ratio": [(0.0, 0.3), (0.5, 1.0)], "seed": 5}

    def drawn(training, steps):
        found, use_rows = [], training.task.head.use_rows
        training.task.head.use_rows = lambda rows: (
            found.append(None if rows is None else rows.tolist()),
            use_rows(rows),
        )
        for _ in range(steps):
            given = faces(batch()["images"], np.zeros(BATCH, np.int64))
            report = train_step(training, given, lr=0.0)
            assert report.figures["sample_ratio"] == (0.3 if training.progress.step < 6 else 1.0)
            training.progress.advance()
            if training.progress.step % 4 == 0:
                training.progress.next_epoch()
        return found

    whole = drawn(made(head=schedule), 8)
    assert [rows and len(rows) for rows in whole] == [2] * 6 + [None] * 2
    resumed = made(head=schedule)
    resumed.progress.restore({"step": 5, "epoch": 1, "consumed": BATCH, "best_metric": None})
    assert drawn(resumed, 3) == whole[5:]
