"""Locks of two processes' descriptors, and none where the system has none."""

import pytest

from plsc.files import locks


def test_one_holds_a_file_or_a_folder(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path in (file, tmp_path):
        with locks.only_holder(path), pytest.raises(BlockingIOError), locks.only_holder(path):
            pass
        with locks.only_holder(path):  # let go of
            pass


def test_the_file_of_a_lock_is_there_while_it_is_held(tmp_path):
    path = tmp_path / "x.lock"
    with pytest.raises(KeyError), locks.next_holder(path):
        with pytest.raises(BlockingIOError), locks.only_holder(path):
            pass
        raise KeyError
    assert not path.exists()


def test_without_locks_the_work_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    done = []
    with locks.only_holder(tmp_path), locks.only_holder(tmp_path):
        done.append("only")
    with locks.next_holder(tmp_path / "x.lock"):
        done.append("next")
    assert done == ["only", "next"] and list(tmp_path.iterdir()) == []
