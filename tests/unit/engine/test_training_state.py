"""A training saved again and again: right whatever is linked, whatever stops it in between."""

import os
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn

from plsc.checkpoint import folder as checkpoint
from plsc.checkpoint import pointers
from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.saver import BEST, LATEST, Saver
from plsc.distributed.sharding import RowShard
from plsc.engine.precision import LossScaler
from plsc.engine.progress import Progress
from plsc.engine.training_state import resume_training, save_training
from plsc.errors import UserError
from plsc.files import tensor_file
from plsc.files.rounding import NUMPY_DTYPES, decode, round_nearest
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.heads.stores import HostRows
from plsc.recognition.losses.adaface import AdaFace
from plsc.recognition.losses.margin import MarginLoss
from plsc.recognition.training import RecognitionTraining

NUM_CLASSES, DIM, ZONE, PART = 26, 3, 4, 8  # four parts


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", partial(checkpoint.save, part_rows=PART))
        patch.setattr(os, "fsync", lambda descriptor: None)  # no power cut is looked at here
        yield


class Dense:
    """An optimizer without state."""

    def state_arrays(self):
        return {}

    def load_state_arrays(self, arrays):
        return []


class Run:
    """A process that trains in a folder."""

    def __init__(
        self, folder, *, dtype="float32", dim=DIM, newest=-1, names=("weight", "v"), losses=()
    ):
        shape = (NUM_CLASSES, dim)
        stores = {name: HostRows(np.zeros(shape, NUMPY_DTYPES[dtype])) for name in names}
        self.centres = ClassCentres(RowShard(NUM_CLASSES), dim, stores, zone=ZONE)
        for name in names:
            self.centres.write(name, np.random.default_rng(len(name)).normal(size=shape))
        self.folder, self.lines, self.newest = folder, [], newest
        self.progress = Progress(epochs=9, num_images=90, steps_per_epoch=90, global_batch=1)
        self.training = SimpleNamespace(
            network=SimpleNamespace(layer=nn.Sequential(nn.Linear(2, 2))),
            task=RecognitionTraining(PartialFC(self.centres, losses)),
            updater=SimpleNamespace(dense=Dense()),
            precision=SimpleNamespace(scaler=LossScaler()),
            progress=self.progress,
        )
        self.saver = Saver(folder, newest=newest)

    @property
    def log(self):
        return SimpleNamespace(line=self.lines.append)

    def resume(self, path):
        state = resume_training(self.training, str(path), self.log, task_type="recognition")
        self.saver = Saver(self.folder, newest=self.newest, run_id=state["run"])
        self.saver.already_saved(self.progress, path)
        return self

    def write(self, name):
        meta = {"run": self.saver.run_id}
        earlier = self.saver.last
        return save_training(
            self.training, self.folder, name, earlier=earlier, meta=meta, log=self.log
        )

    def step(self, *classes):
        self.progress.advance()
        for number in classes:
            row = np.full((1, DIM), self.progress.step + number / 100, np.float32)
            self.centres.write("v", row, number)

    def save(self, *, best=False):
        return self.saver.save(self.progress, self.write, best=best)


def head_of(path, name):
    pieces = (
        Checkpoint(path).rows("head", "num_classes").pieces(name, 0, NUM_CLASSES, dtype="float32")
    )
    return np.concatenate([rows for _, rows in pieces])


def assert_saved(path, run):
    for name in run.centres.names:
        np.testing.assert_array_equal(head_of(path, name), decode(run.centres.read(name)))


def shared(path, other):
    """Numbers of the parts that two checkpoints have in common as files."""
    parts = sorted(file.name for file in path.glob("head-*"))
    assert len(parts) == 4
    return [number for number, name in enumerate(parts) if (path / name).samefile(other / name)]


def test_what_has_not_changed_is_the_same_file(tmp_path):
    run = Run(tmp_path)
    run.step(*range(NUM_CLASSES))
    first = run.save(best=True)
    run.step(9)
    second = run.save()
    run.step(0, 25)
    third = run.save()
    run.progress.best_metric = 0.5
    fourth = run.save()
    assert shared(first, second) == [0, 2, 3]
    assert shared(second, third) == [1, 2]
    assert shared(third, fourth) == [0, 1, 2, 3]
    assert sorted(first.glob("head-*"))[2].stat().st_nlink == 4
    assert_saved(fourth, run)
    old = decode(run.centres.read("v"))
    assert (head_of(first, "v") != old).any(axis=1).nonzero()[0].tolist() == [0, 9, 25]
    pointers.remove(third)
    shutil.rmtree(second)
    assert_saved(fourth, run)


def test_retention_takes_no_file_that_another_names(tmp_path):
    run = Run(tmp_path, newest=0)
    for step in range(6):
        run.step(step * 4)
        kept = decode(run.centres.read("v"))
        if step == 2:
            best = kept
        path = run.save(best=step == 2)
    assert len(pointers.checkpoints_in(tmp_path)) == 2
    assert_saved(path, run)
    np.testing.assert_array_equal(head_of(tmp_path / BEST, "v"), best)
    assert (tmp_path / LATEST).resolve() == path.resolve()


def test_a_fresh_run_links_nothing(tmp_path):
    first = Run(tmp_path).save()
    assert shared(first, Run(tmp_path).save()) == []


def test_a_resumed_run_links_what_it_resumed_in_its_folder(tmp_path):
    run = Run(tmp_path / "one")
    run.step(3)
    first = run.save()
    again = Run(tmp_path / "one").resume(tmp_path / "one" / LATEST)
    again.step(20)
    second = again.save()
    assert shared(first, second) == [0, 1, 3]
    assert_saved(second, again)
    elsewhere = Run(tmp_path / "other").resume(first)
    elsewhere.step(20)
    assert shared(first, elsewhere.save()) == []


def test_the_loss_scale_goes_on(tmp_path):
    run = Run(tmp_path)
    scaler = run.training.precision.scaler
    scaler.scale, scaler.good_steps, scaler.bad_steps = 512.0, 0, 1
    again = Run(tmp_path).resume(run.save())
    assert again.training.precision.scaler == scaler


def seen(margin, *batches):
    """A margin that has been given features of these norms."""
    for norms in batches:
        cosines = paddle.to_tensor(np.full((len(norms), 2), 0.5, np.float32))
        norms = paddle.to_tensor(np.array(norms, np.float32)).unsqueeze(1)
        margin(cosines, paddle.to_tensor(np.zeros(len(norms), np.int64)), norms)
    return margin


def test_the_averages_of_a_loss_go_on_to_the_last_bit(tmp_path):
    batches = [[3.0, 5.0, 9.0], [2.0, 8.0, 1.5], [7.0, 0.3, 30.1]]
    through = seen(AdaFace(), *batches)
    first = seen(AdaFace(), *batches[:2])
    saved = Run(tmp_path, losses=[(1.0, MarginLoss()), (0.5, first)]).save()
    again = AdaFace()
    Run(tmp_path, losses=[(1.0, MarginLoss()), (0.5, again)]).resume(saved)
    assert again.state() == first.state() != AdaFace().state()
    assert seen(again, batches[2]).state() == through.state()


@pytest.mark.parametrize("before", [[], [(1.0, MarginLoss())]])
def test_a_loss_whose_averages_were_not_saved(tmp_path, before):
    saved = Run(tmp_path, losses=before).save()
    again = Run(tmp_path, losses=[(1.0, AdaFace())]).resume(saved)
    assert any("another Loss.Train" in line for line in again.lines)
    assert again.training.task.head.losses[0][1].state() == AdaFace().state()


def test_a_loss_without_averages_may_be_exchanged_in_silence(tmp_path):
    saved = Run(tmp_path, losses=[(1.0, AdaFace())]).save()
    assert not any("Loss" in line for line in Run(tmp_path).resume(saved).lines)


@pytest.mark.parametrize(("before", "after"), [("float32", "bfloat16"), ("float16", "float32")])
def test_resuming_in_another_type(tmp_path, before, after):
    """Rounded to the nearest, said, and written anew."""
    run = Run(tmp_path, dtype=before)
    run.step(3)
    first = run.save()
    again = Run(tmp_path, dtype=after).resume(first)
    for name in run.centres.names:
        expected = round_nearest(decode(run.centres.read(name)), after)
        np.testing.assert_array_equal(again.centres.read(name), expected)
    assert sum(f"{before} in {first}, {after} (nearest)" in line for line in again.lines) == 2
    again.progress.best_metric = 1.0
    second = again.save()
    assert shared(first, second) == []
    assert_saved(second, again)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_save_that_ends_early_loses_nothing(tmp_path, monkeypatch, error, failing):
    """One part is linked, two are written, then the backbone."""
    run = Run(tmp_path)
    run.step(3)
    first = run.save()
    kept = head_of(first, "v")
    run.step(0, 8, 25)
    calls = []

    def write_tensors(path, tensors, **others):
        calls.append(path)
        if len(calls) == failing:
            raise error
        tensor_file.write_tensors(path, tensors, **others)

    monkeypatch.setattr(checkpoint, "write_tensors", write_tensors)
    if isinstance(error, OSError):
        with pytest.raises(UserError, match="No space left"):
            run.save()
        assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    else:  # as if the process were killed there
        monkeypatch.setattr(checkpoint.JointWork, "in_threads", lambda self, action, wait: action())
        with pytest.raises(KeyboardInterrupt):
            run.save()
        monkeypatch.undo()
    assert [item.path for item in pointers.checkpoints_in(tmp_path)] == [first]
    assert pointers.target(tmp_path / LATEST) == first.name
    np.testing.assert_array_equal(head_of(first, "v"), kept)
    monkeypatch.setattr(checkpoint, "write_tensors", tensor_file.write_tensors)
    second = run.save()
    assert shared(first, second) == [2]
    assert_saved(second, run)
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_writer_that_breaks_makes_no_checkpoint(tmp_path, monkeypatch):
    def broken(path, tensors, **others):
        raise ZeroDivisionError

    monkeypatch.setattr(checkpoint, "write_tensors", broken)
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)
    with pytest.raises(UserError, match="ended early"):
        Run(tmp_path).save()
    assert pointers.checkpoints_in(tmp_path) == []


def test_a_head_of_another_shape(tmp_path):
    path = Run(tmp_path).save()
    for changes, words in (
        ({"dim": DIM + 1}, ("3 dimensions", "Model 4")),
        ({"names": ("weight", "moment")}, ("no optimizer state moment of the head",)),
    ):
        with pytest.raises(UserError) as error:
            Run(tmp_path, **changes).resume(path)
        text = str(error.value)
        assert "\n" not in text and str(path) in text and all(word in text for word in words)


ACTIONS = st.one_of(
    st.tuples(st.just("step"), st.lists(st.integers(0, NUM_CLASSES - 1), max_size=3)),
    st.tuples(st.just("save"), st.booleans()),
    st.tuples(st.just("resume"), st.sampled_from([LATEST, BEST])),
    st.tuples(st.just("lose"), st.integers(0, 3)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTIONS, min_size=4, max_size=20), st.integers(-1, 1))
def test_any_course(tmp_path_factory, actions, newest):
    """Every checkpoint holds what its run was when it was saved, though others have gone."""
    folder = tmp_path_factory.mktemp("course")
    run, held = Run(folder, newest=newest), {}
    for action, argument in actions:
        if action == "step":
            run.step(*argument)
        elif action == "save":
            path = run.save(best=argument)
            held[path.name] = decode(run.centres.read("v")).copy()
            assert_saved(path, run)
        elif action == "resume" and (folder / argument).exists():
            run = Run(folder, newest=newest).resume((folder / argument).resolve())
        elif action == "lose" and run.saver.last is not None:
            # A part of the last checkpoint is gone: the next one must not miss it.
            held.pop(run.saver.last.name, None)
            sorted(run.saver.last.glob("head-*"))[argument].unlink(missing_ok=True)
            run.progress.best_metric = (run.progress.best_metric or 0) + 1
            path = run.save(best=True)
            held[path.name] = decode(run.centres.read("v")).copy()
            assert_saved(path, run)
    for item in pointers.checkpoints_in(folder):
        if item.path.name in held:
            np.testing.assert_array_equal(head_of(item.path, "v"), held[item.path.name])


def test_a_checkpoint_of_another_task(tmp_path):
    run = Run(tmp_path)
    path = run.save()
    with pytest.raises(UserError, match="of the task recognition, Global.task_type is detection"):
        resume_training(run.training, str(path), run.log, task_type="detection")
