import os

import pytest

from plsc.cli.status import exit_status
from plsc.errors import UserError
from plsc.files.atomic import new_folder


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "deep" / "set") as folder:
        (folder / "a").write_text("1")
        assert os.listdir(tmp_path / "deep") == [folder.name]
        assert folder.name.startswith("set.partial-")
    assert os.listdir(tmp_path / "deep") == ["set"]
    assert os.listdir(tmp_path / "deep" / "set") == ["a"]


@pytest.mark.parametrize("error", [UserError("wrong"), KeyboardInterrupt(), ValueError("defect")])
def test_a_folder_that_was_not_finished_is_gone(tmp_path, error):
    with pytest.raises(type(error)), new_folder(tmp_path / "set") as folder:
        (folder / "a").write_text("1")
        raise error
    assert os.listdir(tmp_path) == []


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


def raising(error):
    def work():
        raise error

    return work


def test_exit_status(capfd):
    assert exit_status("cmd", lambda: None) == 0
    assert exit_status("cmd", lambda: 1) == 1
    assert exit_status("cmd", raising(KeyboardInterrupt())) == 130
    assert capfd.readouterr().err == ""
    assert exit_status("cmd", raising(UserError("a: wrong"))) == 2
    assert capfd.readouterr().err == "cmd: error: a: wrong\n"
    with pytest.raises(ZeroDivisionError):
        exit_status("cmd", lambda: 1 // 0)


@pytest.mark.parametrize(
    "error, line",
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "a/b"), "a/b: Permission denied"),
    ],
)
def test_what_the_system_refuses_a_command_is_one_line(capfd, error, line):
    out = os.dup(1)
    try:
        assert exit_status("cmd", raising(error)) == 2
    finally:
        os.dup2(out, 1)
        os.close(out)
    assert capfd.readouterr().err == f"cmd: error: {line}\n"
