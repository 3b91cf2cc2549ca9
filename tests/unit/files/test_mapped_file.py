import os

import pytest
from refusals import refused

from plsc.errors import UserError
from plsc.files.mapped_file import map_file, open_regular

OPENERS = [open_regular, map_file]


@pytest.mark.parametrize("opened", OPENERS)
def test_what_cannot_be_read_is_named(tmp_path, opened):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in {
        "gone": "cannot be read: No such file or directory",
        "pipe": "cannot be read: not a regular file",  # and does not wait for a writer
        ".": "cannot be read: Is a directory",
        "a\0b": "cannot be read: embedded null byte",
        "empty": "is empty",
    }.items():
        path = f"{tmp_path}/{name}"
        text = refused(lambda path=path: opened(path, "list"))
        assert text.endswith(f"{name}: the list {reason}")


def test_a_mapping_has_the_bytes_and_leaves_no_descriptor(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    before = len(os.listdir("/proc/self/fd"))
    with map_file(tmp_path / "a", "file") as data:
        assert data[:] == b"abc"
    with pytest.raises(UserError):
        open_regular(tmp_path / "empty", "file")
    assert len(os.listdir("/proc/self/fd")) == before
