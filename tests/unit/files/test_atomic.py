import os

import pytest

from plsc.errors import UserError
from plsc.files.atomic import finished_file, require_writable


def test_a_file_appears_whole_and_safe_on_the_disk(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(os.fstat(descriptor).st_size))
    (tmp_path / "a.bin").write_text("old")
    with finished_file(tmp_path / "a.bin") as partial:
        partial.write_text("brand new")
        assert partial.suffix == ".bin" and (tmp_path / "a.bin").read_text() == "old"
        assert not calls
    assert (tmp_path / "a.bin").read_text() == "brand new"
    assert calls == [9] and os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError("defect"), KeyboardInterrupt(), UserError("wrong")])
def test_a_file_that_was_not_finished_is_gone(tmp_path, error):
    (tmp_path / "a.bin").write_text("old")
    with pytest.raises(type(error)), finished_file(tmp_path / "a.bin") as partial:
        partial.write_text("half")
        raise error
    assert os.listdir(tmp_path) == ["a.bin"] and (tmp_path / "a.bin").read_text() == "old"


def test_what_the_system_refuses_is_one_line(tmp_path):
    message = r"a\.bin: cannot be written: No space left on device$"
    with pytest.raises(UserError, match=message), finished_file(tmp_path / "a.bin") as partial:
        partial.write_text("half")
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written_are_refused_before(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    require_writable(tmp_path / "new.bin")
    require_writable(tmp_path / "file")
    for name, reason in {"folder": "it is a folder", "file/a": ".*file is not a folder"}.items():
        with pytest.raises(UserError, match=f"{name}: cannot be written: {reason}"):
            require_writable(tmp_path / name)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=f"cannot be written: no permission for {tmp_path}"):
        require_writable(tmp_path / "new.bin")
