"""Class centres in memory and in files, in every type: what is read is what was written."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from plsc.checkpoint.sharded_files import WEIGHT
from plsc.distributed.sharding import RowShard
from plsc.errors import UserError
from plsc.files.rounding import NUMPY_DTYPES, decode, round_nearest
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads import file_rows, gradient
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.file_rows import FileRows
from plsc.recognition.heads.initial import initial_centres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.heads.row_order import RowOrder
from plsc.recognition.heads.storage import FILE_BLOCK, build_centres
from plsc.recognition.heads.stores import DeviceRows, HostRows
from plsc.recognition.losses.margin import MarginLoss

DIM, ZONE = 6, 40
DTYPES = ["float32", "float16", "bfloat16"]
PLACES = ["host", "device", "file"]


def store_of(place, dtype, num_rows, folder):
    if place == "file":
        return FileRows(folder, (num_rows, DIM), dtype)
    if place == "device":
        return DeviceRows(paddle.zeros([num_rows, DIM], dtype))
    return HostRows(np.zeros((num_rows, DIM), NUMPY_DTYPES[dtype]))


def centres_of(place, dtype, num_classes, folder, *, ordered=None, prefetch=False):
    names = (WEIGHT, "velocity")
    stores = {name: store_of(place, dtype, num_classes, folder) for name in names}
    ordered = place == "file" if ordered is None else ordered
    order = RowOrder(num_classes, seed=(1,), zone=ZONE) if ordered else None
    return ClassCentres(
        RowShard(num_classes), DIM, stores, order=order, prefetch=prefetch, zone=ZONE
    )


def some(count, seed=0, dtype="float32"):
    values = np.random.default_rng(seed).normal(0, 1, (count, DIM)).astype("float32")
    return round_nearest(values, dtype)


@given(num_classes=st.integers(1, 300), zone=st.integers(1, 120), seed=st.integers(0, 99))
def test_the_order_of_rows_is_random_within_zones(num_classes, zone, seed):
    order = RowOrder(num_classes, seed=(seed, 3), zone=zone)
    rows = order.rows(np.arange(num_classes))
    np.testing.assert_array_equal(np.sort(rows), np.arange(num_classes))
    np.testing.assert_array_equal(rows // zone, np.arange(num_classes) // zone)
    again = RowOrder(num_classes, seed=(seed, 3), zone=zone)
    np.testing.assert_array_equal(again.rows(slice(2, 9)), rows[2:9])


def test_neighbours_are_separated():
    rows = RowOrder(4000, seed=(0, 0), zone=1000).rows(slice(None))
    assert (np.abs(np.diff(rows)) < 64).mean() < 0.2
    zones = (rows % 1000).reshape(4, 1000)
    assert not (zones[0] == zones[1]).mean() > 0.02
    other = RowOrder(4000, seed=(0, 1), zone=1000).rows(slice(None))
    assert (rows == other).mean() < 0.02


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_written_is_read(place, dtype, data, tmp_path_factory):
    """Any range, across zones, in the stored type and in float32."""
    num_classes = data.draw(st.integers(1, 3 * ZONE))
    kept = centres_of(place, dtype, num_classes, tmp_path_factory.getbasetemp())
    assert kept.dtype == dtype and kept.names == [WEIGHT, "velocity"]
    expected = {name: np.zeros((num_classes, DIM), NUMPY_DTYPES[dtype]) for name in kept.names}
    for seed in range(3):
        name = data.draw(st.sampled_from(kept.names))
        start = data.draw(st.integers(0, num_classes))
        stop = data.draw(st.integers(start, num_classes))
        values = some(stop - start, seed)
        as_stored = round_nearest(values, dtype)
        kept.write(name, values if data.draw(st.booleans()) else as_stored, start)
        expected[name][start:stop] = as_stored
        low = data.draw(st.integers(0, num_classes))
        high = data.draw(st.integers(low, num_classes))
        for name in kept.names:
            found = kept.read(name, low, high)
            assert found.dtype == NUMPY_DTYPES[dtype]
            np.testing.assert_array_equal(found, expected[name][low:high])
            np.testing.assert_array_equal(kept.read(name), expected[name])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", PLACES)
def test_rows_are_those_of_their_classes(place, dtype, tmp_path):
    kept, values = centres_of(place, dtype, 100, tmp_path), some(100, dtype=dtype)
    kept.write(WEIGHT, values)
    classes = np.array([99, 0, 41, 40, 39, 7])
    numbers = kept.numbers_of(classes)
    order = np.argsort(numbers)
    rows = kept.take(numbers[order])
    assert rows.weight.dtype == paddle.float32
    np.testing.assert_array_equal(rows.weight.numpy(), decode(values)[classes[order]])
    everything = kept.take(None).weight.numpy()
    np.testing.assert_array_equal(everything[kept.numbers_of(np.arange(100))], decode(values))


STEPS, CLASSES, BATCH = 6, 150, 16


def train(kept, steps=STEPS, *, rows=None, prefetch=False, skipped=(), seed=5, ratio=0.4):
    """Losses and the whole state after momentum steps; `rows` classes, or what sampling says."""
    head = PartialFC(kept, [(1.0, MarginLoss(m2=0.3, s=16.0))], sample_ratio=ratio, seed=seed)
    rule, losses = Momentum(momentum=0.9, weight_decay=5e-4), []
    random = np.random.default_rng(2)
    labels = random.integers(0, CLASSES if rows is None else 20, (steps + 1, BATCH))
    features = random.normal(0, 1, (steps, BATCH, DIM)).astype("float32")
    for step in range(steps):
        head.begin_step(labels[step], step=step)
        if rows is not None:
            head.use_rows(np.sort(kept.numbers_of(rows[step])))
        if prefetch:
            head.prefetch(labels[step + 1], step=step + 1)
        output = head(paddle.to_tensor(features[step]), labels[step])
        output.loss.backward()
        if step not in skipped:
            head.update(lambda w, g, s, step=step: rule.update(w, g, s, lr=0.1, step=step + 1))
        head.end_step()
        losses.append(output.loss.item())
    return np.array(losses), {name: kept.read(name) for name in kept.names}


@pytest.fixture(scope="module")
def reference():
    """float32 in memory, for given classes."""
    random = np.random.default_rng(3)
    rows = [
        np.union1d(np.arange(20), random.choice(CLASSES, 40, replace=False)) for _ in range(STEPS)
    ]
    kept = centres_of("host", "float32", CLASSES, None)
    kept.write(WEIGHT, 0.3 * some(CLASSES))
    return rows, *train(kept, rows=rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", PLACES)
def test_training_is_alike_everywhere(place, dtype, reference, tmp_path):
    rows, losses, arrays = reference
    kept = centres_of(place, dtype, CLASSES, tmp_path)
    kept.write(WEIGHT, 0.3 * some(CLASSES))
    found, state = train(kept, rows=rows)
    assert abs(losses[-1] - losses[0]) > 0.01  # something has happened
    tolerance = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    np.testing.assert_allclose(found, losses, rtol=tolerance)
    for name, array in arrays.items():
        error = np.abs(decode(state[name]) - array).max()
        assert error <= 2 * tolerance * np.abs(array).max(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_files_and_memory_agree_to_the_bit(dtype, tmp_path):
    """The same order of rows in both."""
    results = []
    for place in ("host", "file"):
        kept = centres_of(place, dtype, CLASSES, tmp_path, ordered=True)
        kept.block = 8
        kept.write(WEIGHT, 0.3 * some(CLASSES))
        results.append(train(kept))
    (losses, arrays), (found, state) = results
    np.testing.assert_array_equal(found, losses)
    for name in arrays:
        np.testing.assert_array_equal(state[name], arrays[name])


def test_rounding_differs_by_step_and_run(tmp_path):
    states = []
    for seed in (5, 5, 6):
        kept = centres_of("host", "bfloat16", CLASSES, tmp_path)
        kept.write(WEIGHT, 0.3 * some(CLASSES))
        states.append(train(kept, 2, ratio=1.0, seed=seed)[1][WEIGHT])
    np.testing.assert_array_equal(states[0], states[1])
    assert (states[0] != states[2]).any()
    kept, change = centres_of("host", "bfloat16", 100, tmp_path), np.float32(2**-10)
    steps = []
    for step in range(2):
        kept.write(WEIGHT, np.ones((100, DIM), np.float32))
        kept.write("velocity", np.ones((100, DIM), np.float32))

        def update(weight, gradient, state):
            weight.add_(paddle.full_like(weight, change))
            state["velocity"].add_(paddle.full_like(weight, change))

        kept.update(kept.take(None), update, key=(0, step))
        steps += [kept.read(WEIGHT), kept.read("velocity")]
    for i, first in enumerate(steps):
        assert all((first != second).any() for second in steps[i + 1 :])


def test_rounding_differs_by_piece_and_rank(monkeypatch):
    """Else equal rows of two pieces, or of two ranks, would err alike, step after step."""
    monkeypatch.setattr(gradient, "CPU_CHUNK", 50)
    pieces = []
    for rank in range(2):
        kept = ClassCentres(
            RowShard(200, rank, 2), DIM, {WEIGHT: store_of("host", "bfloat16", 100, None)}
        )
        kept.write(WEIGHT, np.ones((100, DIM), np.float32))
        change = paddle.full([50, DIM], 2.0**-10)
        kept.update(kept.take(None), lambda w, g, s, change=change: w.add_(change), key=(0, 0))
        pieces += [kept.read(WEIGHT, 0, 50), kept.read(WEIGHT, 50)]
    for i, first in enumerate(pieces):
        assert len(np.unique(first)) == 2
        assert all((first != second).any() for second in pieces[i + 1 :])


def test_a_head_rounds_by_its_step():
    """Else a row would meet the same bits in every step, and stall where they are low."""
    found = []
    for step in (0, 1, 0):
        kept = centres_of("host", "bfloat16", CLASSES, None)
        kept.write(WEIGHT, np.ones((CLASSES, DIM), np.float32))
        head = PartialFC(kept, [(1.0, MarginLoss())])
        head.begin_step(np.arange(4), step=step)
        head.update(lambda w, g, s: w.add_(paddle.full_like(w, 2.0**-10)))
        found.append(kept.read(WEIGHT))
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0] != found[1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ratio", [0.2, 0.9, 1.0])
def test_reading_ahead_changes_nothing(dtype, ratio, tmp_path, monkeypatch):
    """Rows that follow one another (most do at 0.9), and steps that are skipped."""
    monkeypatch.setattr(gradient, "CPU_CHUNK", 16)  # several pieces, as of more rows
    results = []
    for prefetch in (False, True):
        kept = centres_of("file", dtype, CLASSES, tmp_path, prefetch=True)
        kept.block = 4
        kept.write(WEIGHT, 0.3 * some(CLASSES))
        results.append(train(kept, prefetch=prefetch, ratio=ratio, skipped=(2, 3)))
    (losses, arrays), (found, state) = results
    np.testing.assert_array_equal(found, losses)
    for name in arrays:
        np.testing.assert_array_equal(state[name], arrays[name])


def reads_of(monkeypatch):
    """How many rows each read of a file takes, once it is done."""
    reads, read = [], FileRows.read

    def watched(self, rows, out=None):
        found = read(self, rows, out)
        reads.append(len(found))
        return found

    monkeypatch.setattr(FileRows, "read", watched)
    return reads


def until_both_are_read(reads):
    """Weight and velocity, in another thread; a minute is a failure, not a measure."""
    for _ in range(60_000):
        if len(reads) == 2:
            return
        time.sleep(0.001)
    raise AssertionError(f"only {len(reads)} of 2 tensors were read ahead")


def test_what_was_read_ahead_is_used_and_kept_true(tmp_path, monkeypatch):
    kept = centres_of("file", "float32", 100, tmp_path, prefetch=True)
    kept.write(WEIGHT, some(100))
    before, numbers = kept.take(None).weight.numpy(), np.arange(10, 30)
    reads = reads_of(monkeypatch)
    first = kept.take(np.arange(25, 35))
    reads.clear()
    kept.prefetch(numbers)
    until_both_are_read(reads)
    assert reads == [20, 20]
    kept.update(first, lambda weight, gradient, state: weight.add_(paddle.ones_like(weight)))
    reads.clear()
    rows = kept.take(numbers)
    assert reads == [5, 5]  # rows 25 to 29 once more
    expected = before[10:30] + (np.arange(10, 30) >= 25)[:, None]
    np.testing.assert_array_equal(rows.weight.numpy(), expected.astype(np.float32))
    reads.clear()
    kept.update(rows, lambda weight, gradient, state: None)
    assert reads == []  # nor does the velocity wait for the disk


@pytest.mark.parametrize("what", ["others", "more", "write", "all", "update"])
def test_what_was_read_ahead_in_vain(what, tmp_path, monkeypatch):
    kept = centres_of("file", "float32", 100, tmp_path, prefetch=True)
    kept.write("velocity", some(100))
    kept.write(WEIGHT, some(100, seed=1))
    every = kept.take(None)
    reads = reads_of(monkeypatch)
    kept.prefetch(np.arange(10))
    until_both_are_read(reads)  # before they change
    if what == "write":
        kept.write(WEIGHT, some(100, seed=2))
    elif what == "update":
        kept.update(every, lambda weight, gradient, state: weight.add_(paddle.ones_like(weight)))
    others = {"others": np.arange(1, 11), "more": np.arange(11), "all": None}
    numbers = others.get(what, np.arange(10))
    rows = kept.take(numbers)
    now = kept.read(WEIGHT)[np.argsort(kept.numbers_of(np.arange(100)))]
    np.testing.assert_array_equal(rows.weight.numpy(), now if numbers is None else now[numbers])


def test_labels_of_a_step_that_does_not_come_are_not_used(tmp_path):
    kept = centres_of("file", "float32", CLASSES, tmp_path, prefetch=True)
    head = PartialFC(kept, [(1.0, MarginLoss())], sample_ratio=0.1)
    labels = np.arange(8)
    head.prefetch(labels + 20, step=1)
    head.begin_step(labels, step=2)
    assert head.rows is not None and np.isin(kept.numbers_of(labels), head.rows.numbers).all()
    head(paddle.ones([8, DIM]), labels)


def test_a_disk_that_fails_while_reading_ahead(tmp_path, monkeypatch):
    kept = centres_of("file", "float32", 100, tmp_path, prefetch=True)

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    kept.prefetch(np.arange(10))
    with pytest.raises(UserError, match=r"cannot be read.*Input/output error.*storage_dir"):
        kept.take(np.arange(10))


def test_the_system_may_do_less_than_it_is_asked_for(tmp_path, monkeypatch):
    rows, values = FileRows(tmp_path, (50, DIM), "float32"), some(50)
    pwritev, preadv = os.pwritev, os.preadv
    monkeypatch.setattr(os, "pwritev", lambda f, b, o: pwritev(f, [b[0][:7]], o))
    monkeypatch.setattr(os, "preadv", lambda f, b, o: preadv(f, [b[0][:5]], o))
    rows.write(np.array([1, 2, 3, 8]), values[:4])
    np.testing.assert_array_equal(rows.read(np.array([2, 3, 8])), values[1:4])
    assert not rows.read(slice(4, 8)).any()
    assert rows.read(np.array([], np.int64)).shape == (0, DIM)


def test_long_runs_are_written_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(file_rows, "WRITE_BYTES", 100)  # no multiple of a row's 24
    rows, values = FileRows(tmp_path, (60, DIM), "float32"), some(60)
    rows.write(slice(0, 40), values[:40])
    rows.write(np.array([41, *range(43, 60)]), values[[41, *range(43, 60)]])
    values[[40, 42]] = 0
    np.testing.assert_array_equal(rows.read(slice(None)), values)


@pytest.mark.parametrize("place", PLACES)
def test_changed_zones(place, tmp_path):
    kept = centres_of(place, "float32", 2 * ZONE + 1, tmp_path)
    assert kept.changed.tolist() == [True] * 3
    kept.mark_saved()
    kept.write("velocity", some(2), ZONE - 1)
    assert kept.changed.tolist() == [True, True, False]
    kept.mark_saved()
    kept.write(WEIGHT, some(ZONE), ZONE)
    assert kept.changed.tolist() == [False, True, False]
    kept.mark_saved()
    kept.write(WEIGHT, some(0), ZONE)
    rows = kept.take(np.sort(kept.numbers_of(np.array([3, 2 * ZONE]))))
    assert kept.changed.tolist() == [False] * 3
    kept.update(rows, lambda weight, gradient, state: None)
    assert kept.changed.tolist() == [True, False, True]
    kept.mark_saved()
    kept.update(kept.take(None), lambda weight, gradient, state: None)
    assert kept.changed.all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("storage", PLACES)
@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_values_are_everywhere_the_same(storage, dtype, rank, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "plsc.recognition.heads.row_order.RowOrder.__init__.__kwdefaults__", {"zone": 1000}
    )
    shard = RowShard(10_000, rank, 2)
    kept = build_centres(
        shard,
        4,
        state_names=("velocity",),
        storage=storage,
        dtype=dtype,
        folder=tmp_path / "new",
        seed=3,
    )
    whole = np.concatenate(
        [values.copy() for _, values in initial_centres(RowShard(10_000), 4, seed=3)]
    )
    expected = round_nearest(whole[shard.start : shard.stop], dtype)
    np.testing.assert_array_equal(kept.read(WEIGHT), expected)
    assert not kept.read("velocity").any()
    assert kept.block == (FILE_BLOCK if storage == "file" else 1)
    assert kept.prefetches == (storage == "file")
    assert len(kept.changed) == (5 if storage == "file" else 1)


def build(folder, num_classes=1000):
    return build_centres(
        RowShard(num_classes),
        4,
        state_names=("velocity",),
        storage="file",
        dtype="bfloat16",
        folder=folder,
        seed=0,
    )


def test_a_disk_without_room(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 2 * 2 * 4 * 1000 - 1))
    with pytest.raises(UserError, match=r"0\.0 GB free.*need 0\.0 GB.*storage_dir.*bfloat16"):
        build(tmp_path)
    build(tmp_path, 999)


def test_ranks_beside_this_one_count_where_they_share_its_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 20_000))
    for host, fits in (("this", False), ("another", True)):

        def gathered(item, host=host):
            if isinstance(item, str):
                return [item, ""]
            return [("this", *item[1:]), (host, *item[1:])]

        monkeypatch.setattr(file_rows, "gather_objects", gathered)
        with contextlib.nullcontext() if fits else pytest.raises(UserError, match="on this has"):
            build(tmp_path)  # 16,000 bytes


def test_a_rank_whose_files_cannot_be_made_ends_the_others(tmp_path, monkeypatch):
    def gathered(item):
        return [item, "no room there"] if isinstance(item, str) else [item]

    monkeypatch.setattr(file_rows, "gather_objects", gathered)
    with pytest.raises(UserError, match="^no room there$"):
        build(tmp_path)


def test_a_disk_that_fills_up_meanwhile(tmp_path, monkeypatch):
    def fail(descriptor, start, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(UserError, match=r"no room.*No space left.*storage_dir"):
        build(tmp_path)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"no file can be made.*storage_dir"):
        build(tmp_path / "file" / "below")


KILLED = """
import os, sys, time
from pathlib import Path
from plsc.recognition.heads.file_rows import FileRows
rows = FileRows(Path(sys.argv[1]), (100_000, 16), "float32")
rows.write(slice(0, 2), rows.read(slice(4, 6)) + 1)
print("ready", flush=True)
time.sleep(60)
"""


def test_nothing_is_left_of_a_killed_process(tmp_path):
    root = ROOT
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        assert list(tmp_path.iterdir()) == []  # while it runs, too
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []
