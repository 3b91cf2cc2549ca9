import os

import pytest

from plsc.errors import UserError
from plsc.files.atomic import (
    new_folder,
    output_file,
    replacing,
    require_writable,
    write_output,
    write_text,
)


def test_a_file_appears_whole_and_safe_on_the_disk(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(os.fstat(descriptor).st_size))
    (tmp_path / "a.bin").write_text("old")
    with output_file(tmp_path / "a.bin") as partial:
        partial.write_text("brand new")
        assert partial.suffix == ".bin" and (tmp_path / "a.bin").read_text() == "old"
        assert not calls
    assert (tmp_path / "a.bin").read_text() == "brand new"
    assert calls == [9] and os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError("defect"), KeyboardInterrupt(), UserError("wrong")])
def test_what_was_not_finished_is_gone(tmp_path, error):
    (tmp_path / "a.bin").write_text("old")
    with pytest.raises(type(error)), output_file(tmp_path / "a.bin") as partial:
        partial.write_text("half")
        raise error
    with pytest.raises(type(error)), new_folder(tmp_path / "set") as folder:
        (folder / "a").write_text("1")
        raise error
    assert os.listdir(tmp_path) == ["a.bin"] and (tmp_path / "a.bin").read_text() == "old"


def test_what_the_system_refuses_is_one_line(tmp_path):
    message = r"a\.bin: cannot be written: No space left on device$"
    with pytest.raises(UserError, match=message), output_file(tmp_path / "a.bin") as partial:
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


def test_a_file_of_the_run_is_replaced_whole(tmp_path, monkeypatch):
    path, sizes = tmp_path / "state.json", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    path.write_text("old")
    (tmp_path / ".state.json.partial").write_text("longer than what a killed run has left")
    write_text(path, "née")
    assert path.read_bytes() == "née".encode() and sizes == [4]
    write_text(path, "beat", partial=tmp_path / "mine", synced=False)
    assert path.read_text() == "beat" and sizes == [4]
    assert os.listdir(tmp_path) == ["state.json"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_file_of_the_run_stays_where_its_replacement_fails(error, tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(type(error)), replacing(tmp_path / "a") as partial:
        partial.write_text("half")
        raise error
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"
    with pytest.raises(OSError, match="No such file"):
        write_text(tmp_path / "missing" / "a", "text")


def test_outputs_are_bytes_as_they_are_or_text_in_utf8(tmp_path):
    write_output(tmp_path / "a", b"\xff\r\n")
    write_output(str(tmp_path / "b"), "née\r\n")
    assert (tmp_path / "a").read_bytes() == b"\xff\r\n"
    assert (tmp_path / "b").read_bytes() == "née\r\n".encode()
    with pytest.raises(UserError, match="missing/a: cannot be written: No such file"):
        write_output(tmp_path / "missing" / "a", "text")


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "deep" / "set") as folder:
        (folder / "a").write_text("1")
        assert os.listdir(tmp_path / "deep") == [folder.name]
        assert folder.name.startswith("set.partial-")
    assert os.listdir(tmp_path / "deep") == ["set"]
    assert os.listdir(tmp_path / "deep" / "set") == ["a"]


def test_what_the_system_refuses_is_named_once(tmp_path):
    with (
        pytest.raises(UserError, match=r"set: cannot be made: No space left on device$"),
        new_folder(tmp_path / "set"),
    ):
        raise OSError(28, "No space left on device")
    with (
        pytest.raises(UserError, match=r"set: cannot be made: /x: Permission denied$"),
        new_folder(tmp_path / "set"),
    ):
        raise OSError(13, "Permission denied", "/x")


def test_an_empty_folder_may_be_there_or_a_link_to_one(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "link").symlink_to("large_disk")
    (tmp_path / "new").symlink_to("large_disk/new")
    for name in ("empty", "link"):
        with new_folder(tmp_path / name) as folder:
            (folder / "a").write_text("1")
        assert os.listdir(tmp_path / name) == ["a"]
    with new_folder(tmp_path / "new") as folder:
        assert folder.parent == tmp_path / "large_disk"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "new").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["empty", "large_disk", "link", "new"]


def test_what_cannot_become_the_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "mounted").mkdir()
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "mounted")
    listdir = os.listdir

    def guarded(path):
        if path == tmp_path / "closed":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", guarded)
    for name, reason in {
        "full": "exists and is not an empty folder",
        "mounted": "is a mount point",
        "closed": "cannot be made: Permission denied",
        "full/file": "cannot be made: .*full/file is a file",
        "full/file/deep/set": "cannot be made: .*full/file is a file",
    }.items():
        with (
            pytest.raises(UserError, match=f"^{tmp_path}/{name}: {reason}") as error,
            new_folder(tmp_path / name),
        ):
            pytest.fail("the work has begun")
        assert "\n" not in str(error.value)
    assert sorted(listdir(tmp_path)) == ["closed", "full", "mounted"]
