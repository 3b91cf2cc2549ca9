import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from plsc.data.loader.worker_pool import WorkerPool, WorkerTraceback
from plsc.errors import UserError

ROOT = __file__.rsplit("/tests/", 1)[0]


def double(task):
    """Results of several dtypes and shapes; later tasks finish sooner."""
    time.sleep(0.02 * (task % 3 == 0))
    return [np.full((task % 4, 3), 2 * task, np.float32), np.array(task), np.zeros(0)], task


def values(results):
    return [
        ([array.tolist() for array in arrays], [str(a.dtype) for a in arrays], note)
        for arrays, note in results
    ]


@pytest.fixture
def pool_of():
    pools = []

    def make(function, num_workers, slot_bytes=1000):
        pools.append(WorkerPool(function, num_workers=num_workers, slot_bytes=slot_bytes))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def alive(pids):
    """Those of these processes that run (or wait to be collected by a parent that forgot them)."""
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def pid_of(_):
    return [np.array(os.getpid())], None


@pytest.mark.parametrize("num_workers", [1, 2, 3])
@pytest.mark.parametrize("num_tasks", [0, 1, 2, 5, 20])
def test_results_come_in_the_order_of_the_tasks(pool_of, num_workers, num_tasks):
    here = values(pool_of(double, 0).map(range(num_tasks)))
    pool = pool_of(double, num_workers)
    assert [note for _, _, note in here] == list(range(num_tasks))
    assert values(pool.map(range(num_tasks))) == here
    assert values(pool.map(iter(range(num_tasks)))) == here  # the same processes again


def test_tasks_are_taken_no_further_ahead_than_the_slots(pool_of):
    taken = []

    def tasks():
        for task in range(50):
            taken.append(task)
            yield task

    results = pool_of(double, 2).map(tasks())
    next(results)
    assert len(taken) <= 5  # two workers with two slots each, and the next one


def test_a_map_that_is_left_does_not_disturb_the_next(pool_of):
    pool = pool_of(double, 2)
    for _ in range(3):
        for _, note in pool.map(range(100, 200)):
            if note == 103:
                break
    assert [note for _, note in pool.map(range(10))] == list(range(10))


class OfTwo(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def faulty(task):
    class Local(Exception):
        pass

    if task == "ok":
        return [np.array(1)], None
    raise {
        "user": UserError("a.jpg: too small"),
        "zero": ZeroDivisionError("by zero"),
        "two": OfTwo("a", "b"),
        "local": Local("lost"),
    }[task]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_user_error_arrives_as_it_was_in_its_turn(pool_of, num_workers):
    pool = pool_of(faulty, num_workers)
    results = pool.map(["ok", "ok", "user", "ok"])
    assert [int(next(results)[0][0]) for _ in range(2)] == [1, 1]
    with pytest.raises(UserError) as caught:
        next(results)
    assert str(caught.value) == "a.jpg: too small"
    assert caught.value.__cause__ is None
    assert len(list(pool.map(["ok"] * 5))) == 5


def test_other_errors_keep_their_type_and_say_where_they_arose(pool_of):
    pool = pool_of(faulty, 2)
    with pytest.raises(ZeroDivisionError, match="by zero") as caught:
        list(pool.map(["zero"]))
    assert isinstance(caught.value.__cause__, WorkerTraceback)
    assert "in faulty" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="OfTwo"):  # it cannot be made again from its text
        list(pool.map(["two"]))
    with pytest.raises(RuntimeError, match="Local.*lost"):
        list(pool.map(["local"]))


@pytest.mark.parametrize(
    ("number", "error", "text"),
    [(signal.SIGKILL, UserError, "memory"), (signal.SIGUSR1, RuntimeError, "SIGUSR1")],
)
def test_a_worker_that_dies_is_named_at_once(pool_of, number, error, text):
    pool = pool_of(lambda task: os.kill(os.getpid(), number), 2)
    start = time.monotonic()
    with pytest.raises(error, match=rf"data-worker-0 .*has died.*{text}"):
        list(pool.map(range(4)))
    assert time.monotonic() - start < 3


def test_workers_outlive_the_signals_of_their_group(pool_of):
    """Ctrl-C and a launcher's SIGTERM: the parent still wants its batches to save in order."""
    pool = pool_of(pid_of, 2)
    pids = {int(arrays[0]) for arrays, _ in pool.map(range(4))}
    for pid in pids:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.1)
    assert {int(arrays[0]) for arrays, _ in pool.map(range(4))} == pids


@pytest.mark.parametrize("way", ["close", "delete"])
def test_no_process_is_left(way):
    pool = WorkerPool(pid_of, num_workers=3, slot_bytes=100)
    pids = {int(arrays[0]) for arrays, _ in pool.map(range(3))}
    assert len(alive(pids)) == 3
    if way == "close":
        pool.close()
        pool.close()
    else:
        del pool
        gc.collect()
    assert alive(pids) == []


def test_a_forked_process_does_not_end_its_parents_workers(pool_of):
    pool = pool_of(pid_of, 2)
    pids = {int(arrays[0]) for arrays, _ in pool.map(range(4))}
    child = os.fork()
    if child == 0:
        pool.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert {int(arrays[0]) for arrays, _ in pool.map(range(4))} == pids


SCRIPT = """
import os, sys, threading, time
import numpy as np
from plsc.data.loader.worker_pool import WorkerPool
pool = WorkerPool(lambda task: ([np.array(os.getpid())], None), num_workers=2, slot_bytes=100)
results = pool.map(range(10**6))
print(*{int(next(results)[0][0]) for _ in range(4)}, flush=True)
if sys.argv[1] == "error":
    1 / 0
if sys.argv[1] == "killed":
    time.sleep(60)
"""


@pytest.mark.parametrize(("way", "code"), [("end", 0), ("error", 1), ("killed", -9)])
def test_workers_end_with_the_program_however_it_ends(way, code):
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, way],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    with program:
        pids = [int(pid) for pid in program.stdout.readline().split()]
        assert len(pids) == 2
        if way == "killed":
            program.kill()
        assert program.wait(timeout=10) == code
    assert wait_until(lambda: not alive(pids), 3)


def filled(task, new):
    """As `double`, bit by bit; the second array is made before the first one is full."""
    first = new((task % 4, 3), np.float32)
    second = new((), np.int64)
    first[...] = 2 * task
    second[...] = task
    new((0,), np.float64)
    return task


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_arrays_may_be_filled_where_they_travel(num_workers):
    pools = [
        WorkerPool(double, num_workers=0, slot_bytes=0),
        WorkerPool(fill=filled, num_workers=num_workers, slot_bytes=1000),
    ]
    expected, found = (list(pool.map(range(20))) for pool in pools)
    for pool in pools:
        pool.close()
    assert values(found) == values(expected)  # after all of them: none was overwritten
    assert all(array.flags.writeable for arrays, _ in found for array in arrays)


def test_arrays_larger_than_the_slot_are_an_error():
    def fill(task, new):
        new((700,), np.uint8)
        new((700,), np.uint8)

    pool = WorkerPool(fill=fill, num_workers=1, slot_bytes=800)
    with pytest.raises(AssertionError, match="larger than slot_bytes"):
        list(pool.map([0]))
    pool.close()


def test_threads_of_opencv_stay_off_in_workers(pool_of):
    import cv2

    pool = pool_of(lambda task: ([np.array(cv2.getNumThreads())], None), 1)
    assert [int(arrays[0]) for arrays, _ in pool.map([0])] == [1]
