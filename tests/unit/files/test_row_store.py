"""A store that fills up: what is there stays there, and nothing else passes for it."""

import multiprocessing
from zlib import crc32

import numpy as np
import pytest

from plsc.errors import UserError
from plsc.files import row_store
from plsc.files.row_store import RowStore

SHAPE = (19, 2, 3)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(row_store, "BLOCK", 8)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def stamps():
    return np.random.default_rng(1).integers(0, 9, (SHAPE[0], 2))


def fill(folder, values, stamps, *runs):
    store = RowStore(folder, SHAPE, {"model": "m"})
    with store.filling():
        for rows in map(np.array, runs):
            store.write(rows, values[rows], stamps[rows])
    return store


ALL = [*range(19)]


def test_what_was_written_is_read_again(tmp_path, values, stamps):
    fill(tmp_path / "e", values, stamps, [16, 17, 18], [0, 1, 2, 5, 7, 6])
    store = RowStore(tmp_path / "e", SHAPE, {})
    left = [3, 4, *range(8, 16)]
    assert store.missing(stamps).tolist() == left
    np.testing.assert_array_equal(store[16:19], values[16:])
    np.testing.assert_array_equal(store[5:8], values[5:8])
    np.testing.assert_array_equal(store[16:99], values[16:])
    assert store[5:5].shape == (0, 2, 3)
    fill(tmp_path / "e", values, stamps, left)
    np.testing.assert_array_equal(np.load(tmp_path / "e" / "embeddings.npy"), values)
    assert not len(RowStore(tmp_path / "e", SHAPE, {}).missing(stamps))


def test_an_exchanged_image_makes_its_row_anew(tmp_path, values, stamps):
    store = fill(tmp_path / "e", values, stamps, ALL)
    stamps[9, 1] += 1
    assert store.missing(stamps).tolist() == [9]


def test_damaged_bytes_make_their_row_anew(tmp_path, values, stamps):
    store = fill(tmp_path / "e", values, stamps, ALL)
    path = tmp_path / "e" / "embeddings.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert store.missing(stamps).tolist() == [18]


def test_a_row_of_zeros_is_not_taken_for_written(tmp_path, values, stamps):
    store = fill(tmp_path / "e", 0 * values, 0 * stamps, [8])
    assert store.missing(0 * stamps).tolist() == [*range(8), *range(9, 19)]


def test_what_was_not_marked_is_missing(tmp_path, values, stamps, monkeypatch):
    """A killed process leaves rows without marks, never marks without rows."""
    synced = []
    monkeypatch.setattr(row_store.os, "fsync", lambda descriptor: synced.append(descriptor))
    store = RowStore(tmp_path / "e", SHAPE, {})
    synced.clear()
    with store.filling():
        store.write(np.arange(4), values[:4], stamps[:4])
        assert not synced
        assert len(RowStore(tmp_path / "e", SHAPE, {}).missing(stamps)) == 19
        monkeypatch.setattr(row_store, "MARK_SECONDS", 0)
        store.write(np.arange(4, 9), values[4:9], stamps[4:9])
        assert len(synced) == 2
        left = RowStore(tmp_path / "e", SHAPE, {}).missing(stamps)
        assert left.tolist() == [*range(9, 19)]


def test_a_store_with_a_mark_for_each_block_is_taken_over(tmp_path, values, stamps):
    """As plsc 3.0 wrote them."""
    fill(tmp_path / "e", values, stamps, ALL)
    marks = [
        crc32(values[rows].tobytes(), crc32(stamps[rows].tobytes())) + 1
        for rows in (slice(0, 8), slice(8, 16), slice(16, 19))
    ]
    path = tmp_path / "e" / "finished"
    np.array([marks[0], 0, marks[2]], "<i8").tofile(path)
    store = RowStore(tmp_path / "e", SHAPE, {})
    assert store.missing(stamps).tolist() == [*range(8, 16)]
    assert path.stat().st_size == 8 * 19
    fill(tmp_path / "e", values, stamps, [*range(8, 16)])
    stamps[2] += 1
    assert RowStore(tmp_path / "e", SHAPE, {}).missing(stamps).tolist() == [2]
    np.array(marks, "<i8").tofile(path)
    assert RowStore(tmp_path / "e", SHAPE, {}).missing(stamps).tolist() == [*range(8)]


def test_a_folder_of_something_else_is_refused(tmp_path, values, stamps):
    fill(tmp_path / "e", values, stamps, [0])
    with pytest.raises(UserError, match=r"cannot be used: they are float32 \[19, 2, 3\] instead"):
        RowStore(tmp_path / "e", (19, 1, 3), {})
    (tmp_path / "e" / "finished").write_bytes(bytes(8 * 5))
    with pytest.raises(UserError, match="cannot be used: 5 marks instead of 19"):
        RowStore(tmp_path / "e", SHAPE, {})
    path = tmp_path / "e" / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="cannot be used: the file is cut short; remove"):
        RowStore(tmp_path / "e", SHAPE, {})
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="cannot be used: .*; remove the folder"):
        RowStore(tmp_path / "e", SHAPE, {})
    path.unlink()
    with pytest.raises(UserError, match="cannot be used: No such file"):
        RowStore(tmp_path / "e", SHAPE, {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/e"):
        RowStore(tmp_path / "file" / "e", SHAPE, {})


def test_two_processes_do_not_fill_one_store(tmp_path, values, stamps):
    store = fill(tmp_path / "e", values, stamps, [0])
    context = multiprocessing.get_context("fork")
    with store.filling():
        other = context.Process(target=_refused, args=(tmp_path / "e",))
        other.start()
        other.join()
        assert other.exitcode == 0
    with store.filling():
        pass


def _refused(folder):
    store = RowStore(folder, SHAPE, {})
    with pytest.raises(UserError, match="another process is filling it"), store.filling():
        pass
