"""Names, pointers and retention of a run's checkpoints, over any course of runs."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.checkpoint import folder as checkpoint
from plsc.checkpoint import pointers
from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.saver import BEST, LATEST, Saver
from plsc.engine.progress import Progress

ROWS = np.zeros((2, 2), np.float32)


@pytest.fixture(scope="module", autouse=True)
def no_fsync():
    """Hundreds of checkpoints: what a power cut would leave is not looked at here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def progress_of(**changes):
    return Progress(epochs=9, num_images=6, steps_per_epoch=3, global_batch=2, **changes)


class Course:
    """A run in a folder, with each write recorded."""

    def __init__(self, folder, *, newest=-1, progress=None, run_id=None):
        self.folder, self.newest = folder, newest
        self.progress = progress or progress_of()
        self.saver = Saver(folder, newest=newest, run_id=run_id)
        self.written = []

    def write(self, name):
        self.written.append(name)
        state = {**self.progress.state(), "run": self.saver.run_id, "num_classes": 2}
        state["scaler"] = {}
        path = checkpoint.save(
            self.folder,
            name,
            network={"step": np.array([self.progress.step])},
            optimizer={},
            sharded={"head": {"weight": ROWS}},
            state=state,
        )
        # One moment after another, however coarse the file system's clock is.
        tick = max([item.written for item in self.all() if item.path != path], default=0) + 1000
        os.utime(path / "state.json", ns=(tick, tick))
        return path

    def all(self):
        return pointers.checkpoints_in(self.folder)

    def save(self, *, best=False):
        return self.saver.save(self.progress, self.write, best=best)

    def step(self, count=1):
        for _ in range(count):
            self.progress.advance()
            if self.progress.consumed >= self.progress.num_images:
                self.progress.next_epoch()


def names(folder):
    return sorted(item.path.name for item in pointers.checkpoints_in(folder))


def test_names(tmp_path):
    course = Course(tmp_path)
    course.step()
    assert course.save() == tmp_path / "step_1"
    course.step(2)
    assert course.save() == tmp_path / "epoch_1"
    again = Course(tmp_path)
    again.step(3)
    assert again.save() == tmp_path / "epoch_1-2"
    third = Course(tmp_path)
    third.step(3)
    assert third.save() == tmp_path / "epoch_1-3"
    assert names(tmp_path) == ["epoch_1", "epoch_1-2", "epoch_1-3", "step_1"]


def test_one_moment_is_written_once(tmp_path):
    course = Course(tmp_path)
    course.step()
    first = course.save()
    assert course.save() == first and course.save() == first
    assert course.written == ["step_1"]
    assert pointers.target(tmp_path / BEST) is None
    course.save(best=True)  # the same moment is the best too: only a pointer
    assert course.written == ["step_1"] and pointers.target(tmp_path / BEST) == "step_1"
    course.progress.best_metric = 0.5  # another state of the same step
    course.save(best=True)
    assert course.written == ["step_1", "step_1-2"]
    assert pointers.target(tmp_path / BEST) == "step_1-2"
    course.step()
    course.save()
    assert course.written[-1] == "step_2"


def test_what_killed_processes_left_is_gone_before_there_must_be_room(tmp_path):
    for name in (".step_9.partial", ".epoch_1.removed"):
        (tmp_path / name).mkdir()
    course = Course(tmp_path)
    seen = []
    write = course.write
    course.write = lambda name: (seen.extend(tmp_path.iterdir()), write(name))[1]
    course.save()
    assert seen == [] and names(tmp_path) == ["epoch_0"]


def test_what_was_resumed_is_not_written_again(tmp_path):
    course = Course(tmp_path)
    course.step()
    course.save()
    for source in ("step_1", LATEST):
        resumed = Course(tmp_path, progress=course.progress, run_id=course.saver.run_id)
        resumed.saver.already_saved(resumed.progress, tmp_path / source)
        assert resumed.save() == (tmp_path / "step_1").resolve() and resumed.written == []
        assert pointers.target(tmp_path / LATEST) == "step_1"


def test_what_was_resumed_from_elsewhere_is_written_here(tmp_path):
    course = Course(tmp_path / "one")
    course.step()
    course.save()
    resumed = Course(tmp_path / "other", progress=course.progress, run_id=course.saver.run_id)
    resumed.saver.already_saved(resumed.progress, tmp_path / "one" / "latest")
    assert resumed.save() == tmp_path / "other" / "step_1"
    assert Checkpoint(tmp_path / "other" / LATEST).state["step"] == 1


def test_best_is_pointed_before_latest(tmp_path, monkeypatch):
    """Killed between the two, `latest` must not know a metric whose checkpoint is not the best."""
    pointed = []
    point = pointers.point

    def noted(root, pointer, name):
        pointed.append((pointer, name))
        assert (root / name / "state.json").is_file()
        point(root, pointer, name)

    monkeypatch.setattr(pointers, "point", noted)
    course = Course(tmp_path)
    course.step()
    course.save(best=True)
    assert pointed == [(BEST, "step_1"), (LATEST, "step_1")]
    course.step()
    course.save()
    assert pointed[2:] == [(LATEST, "step_2")]


@pytest.mark.parametrize("newest", [0, 1, 2, 3])
def test_the_newest_of_this_run_and_the_named_stay(tmp_path, newest):
    earlier = Course(tmp_path)
    for _ in range(3):
        earlier.step()
        earlier.save()
    left_alone = names(tmp_path)
    course = Course(tmp_path, newest=newest)
    for step in range(1, 8):
        course.step()
        course.save(best=step == 2)
    own = [item for item in course.all() if item.state["run"] == course.saver.run_id]
    steps = sorted(item.state["step"] for item in own)
    assert steps == [2, *range(8 - max(newest, 1), 8)]
    assert set(left_alone) <= set(names(tmp_path))
    assert course.saver.earlier_runs() == left_alone


def test_negative_keeps_all(tmp_path):
    course = Course(tmp_path, newest=-1)
    for _ in range(6):
        course.step()
        course.save()
    assert len(names(tmp_path)) == 6


def test_a_resumed_run_counts_as_the_same(tmp_path):
    course = Course(tmp_path)
    course.step(), course.save(), course.step(), course.save()
    resumed = Course(tmp_path, newest=1, progress=course.progress, run_id=course.saver.run_id)
    assert resumed.saver.earlier_runs() == []
    resumed.step()
    resumed.save()
    assert names(tmp_path) == ["epoch_1"]


def test_a_damaged_checkpoint_of_an_earlier_run_neither_goes_nor_ends_a_run(tmp_path):
    earlier = Course(tmp_path)
    for _ in range(2):
        earlier.step()
        earlier.save()
    (tmp_path / "step_1" / "state.json").write_text("{")
    course = Course(tmp_path, newest=0)
    assert course.saver.earlier_runs() == ["step_2"]
    course.step()
    assert course.save() == tmp_path / "step_1-2"  # its name is taken all the same
    assert (tmp_path / "step_1" / "backbone.safetensors").is_file()
    assert names(tmp_path) == ["step_1-2", "step_2"]


def test_fresh_runs_have_ids_of_their_own(tmp_path):
    assert len({Saver(tmp_path, newest=1).run_id for _ in range(20)}) == 20


ACTIONS = st.one_of(
    st.tuples(st.just("step"), st.integers(1, 4)),
    st.tuples(st.just("save"), st.booleans()),
    st.tuples(st.just("better"), st.booleans()),
    st.tuples(st.just("fresh"), st.integers(-1, 2)),
    st.tuples(st.just("resume"), st.sampled_from([LATEST, BEST, "any"])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, min_size=3, max_size=25), st.integers(-1, 2), st.randoms())
def test_any_course_of_runs(tmp_path_factory, actions, newest, random):
    folder = tmp_path_factory.mktemp("course")
    folder.mkdir(exist_ok=True)
    course = Course(folder, newest=newest)
    other_runs: dict[str, str] = {}  # of runs that are over: name -> run
    for action, argument in actions:
        if action == "step":
            course.step(argument)
        elif action == "better":
            course.progress.best_metric = (course.progress.best_metric or 0) + 1
            check_save(course, best=argument)
        elif action == "save":
            check_save(course, best=argument)
        elif action == "fresh":
            other_runs = {item.path.name: item.state["run"] for item in course.all()}
            course = Course(folder, newest=argument)
        elif course.all():
            name = argument
            if not (folder / argument).exists():
                name = random.choice(names(folder))
            state = Checkpoint(folder / name).state
            progress = progress_of()
            progress.restore(state)
            course = Course(folder, newest=newest, progress=progress, run_id=state["run"])
            course.saver.already_saved(progress, folder / name)
            everything = {item.path.name: item.state["run"] for item in course.all()}
            other_runs = {n: r for n, r in everything.items() if r != state["run"]}

        left = {item.path.name: item.state["run"] for item in course.all()}
        assert other_runs.items() <= left.items()  # nothing of other runs is removed or replaced
        for pointer in (LATEST, BEST):
            name = pointers.target(folder / pointer)
            assert name is None or name in left
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def check_save(course, *, best):
    """One save, and all that must hold right after it."""
    before, writes = set(names(course.folder)), len(course.written)
    path = course.save(best=best)
    new = course.written[writes:]
    assert len(new) <= 1 and not before & set(new)
    assert path.name == pointers.target(course.folder / LATEST)
    if best:
        assert path.name == pointers.target(course.folder / BEST)
    state = Checkpoint(path).state
    assert {key: state[key] for key in course.progress.state()} == course.progress.state()
    saved = Checkpoint(path).network()
    assert saved["step"][0] == course.progress.step
    own = sorted(
        (item for item in course.all() if item.state["run"] == course.saver.run_id),
        key=lambda item: item.written,
    )
    if course.newest >= 0:
        named = {pointers.target(course.folder / pointer) for pointer in (LATEST, BEST)}
        extra = [item for item in own[: len(own) - course.newest] if item.path.name not in named]
        assert extra == []
