import os

import numpy as np
import pytest

from plsc.data.records.recordio import RecordWriter
from plsc.data.sets.folder import FolderImages
from plsc.data.sets.listed import ListedImages
from plsc.data.sets.open import open_source
from plsc.data.sets.record_images import RecordImages, rec_files
from plsc.errors import UserError

NAMES = ["a,b 0 1 c.jpg", "ü/2.jpg", "3 4.jpg"]


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"image %d" % number)
    return tmp_path


def read(source):
    return [source.read(row) for row in range(len(source))]


EXPECTED = [(b"image 0", 5), (b"image 1", 0), (b"image 2", 12)]


@pytest.mark.parametrize("line", ["{}\t{}", "{},{}", "{}, {}", "{};{}", "{} {}", "{}\t{}\r"])
def test_lists_are_told_from_their_lines(root, line):
    lines = [line.format(name, label) for name, (_, label) in zip(NAMES, EXPECTED, strict=True)]
    (root / "set.lst").write_text("\n".join(["", *lines, ""]), newline="")
    source = open_source(root / "set.lst")
    assert isinstance(source, ListedImages) and read(source) == EXPECTED
    assert read(open_source(root / "set.lst", str(root))) == EXPECTED


def test_magfaces_lists(root):
    (root / "b.jpg").write_bytes(b"b")
    (root / "set.lst").write_text("ü/2.jpg 0 4 0\nb.jpg 0 0 0\r\n", newline="")
    assert read(open_source(root / "set.lst")) == [(b"image 1", 4), (b"b", 0)]
    (root / "tab.txt").write_text("ü/2.jpg 0 4 0\nb.jpg 0 0 0\nb.jpg\t7\n")
    with pytest.raises(UserError, match=r"tab.txt:\d: "):  # neither in all of its lines
        open_source(root / "tab.txt")


def test_a_path_that_looks_like_a_magface_line_makes_no_magface_list(root):
    (root / "3 4.jpg").rename(root / "4")
    (root / "x 0 1").write_bytes(b"x")
    (root / "set.lst").write_text("x 0 1 7\n4 5\n")
    assert read(open_source(root / "set.lst")) == [(b"x", 7), (b"image 2", 5)]


def test_what_is_said_goes_before_what_is_guessed(root):
    (root / "x 0 1").write_bytes(b"another")
    (root / "a.txt").write_text("x 0 1 2\n")
    (root / "x").write_bytes(b"x")
    assert read(open_source(root / "a.txt")) == [(b"x", 1)]
    for told in ({"list_format": "plsc"}, {"delimiter": " "}):
        assert read(open_source(root / "a.txt", **told)) == [(b"another", 2)]
    (root / "a.txt").write_text("x 0\t1 2\n")
    assert read(open_source(root / "a.txt", list_format="magface")) == [(b"x", 1)]
    (root / "b.txt").write_text(f"{root}/3 4.jpg\t7\n")
    assert read(open_source(root / "b.txt", image_root="/")) == [(b"image 2", 7)]
    (root / "lists").mkdir()
    (root / "lists" / "c.txt").write_text("3 4.jpg\t7\n")
    assert read(open_source(root / "lists" / "c.txt", image_root=str(root))) == [(b"image 2", 7)]


def test_folders(root):
    (root / "people" / "anna").mkdir(parents=True)
    (root / "people" / "anna" / "1.jpg").write_bytes(b"face")
    source = open_source(root / "people")
    assert isinstance(source, FolderImages) and read(source) == [(b"face", 0)]
    (root / "people" / "label.txt").write_text("anna/1.jpg\t3\n")
    source = open_source(root / "people")
    assert isinstance(source, ListedImages) and read(source) == [(b"face", 3)]
    with RecordWriter(root / "people" / "train.rec") as writer:
        writer.write(0, b"record", labels=2)
    for path in (root / "people", root / "people" / "train.rec"):
        source = open_source(str(path))
        assert isinstance(source, RecordImages) and read(source) == [(b"record", 2)]


@pytest.mark.parametrize("told", [{"image_root": "x"}, {"list_format": "plsc"}, {"delimiter": ","}])
def test_what_only_lists_have_is_refused_for_others(root, told):
    option = f"--{next(iter(told))}".replace("_", "-")
    (root / "people" / "anna").mkdir(parents=True)
    with pytest.raises(UserError, match=f"{option} belongs to a list, and .*people is none"):
        open_source(root / "people", **told)


def test_what_is_no_source(root):
    with pytest.raises(UserError, match="absent: no such file or folder"):
        open_source(root / "absent")
    (root / "lfw.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match="lfw.bin: holds pairs to verify.* plsc-data pairs"):
        open_source(root / "lfw.bin")
    (root / "face.jpg").write_bytes(np.random.default_rng(0).bytes(100_000))
    with pytest.raises(UserError, match="face.jpg: neither a list of images nor a .rec file"):
        open_source(root / "face.jpg")
    (root / "long.txt").write_text("x" * 200_000)
    with pytest.raises(UserError, match="long.txt: neither a list of images nor a .rec file"):
        open_source(root / "long.txt")
    (root / "words.txt").write_text("some words\n")
    with pytest.raises(UserError, match=r"words.txt:1: "):
        open_source(root / "words.txt")
    (root / "empty.txt").touch()
    with pytest.raises(UserError, match=r"empty.txt: .*empty"):
        open_source(root / "empty.txt")
    with pytest.raises(UserError, match="list_format must be one of plsc, magface, .*, got 'x'"):
        open_source(root / "words.txt", list_format="x")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "list")
    os.mkfifo(tmp_path / "train.rec")
    with pytest.raises(UserError, match="list: the list cannot be read: not a regular file"):
        open_source(tmp_path / "list")
    with pytest.raises(UserError, match=r"train\.rec: the record file cannot be read: not a reg"):
        open_source(tmp_path / "train.rec")


def test_hidden_record_files_do_not_count(tmp_path):
    """macOS leaves `._train.rec` beside a file on a foreign disk."""
    with RecordWriter(tmp_path / "b.rec") as writer:
        writer.write(0, b"image", labels=0)
    (tmp_path / "._b.rec").write_bytes(b"\0\5\26\7")
    assert len(open_source(tmp_path)) == 1
    assert rec_files(tmp_path) == [tmp_path / "b.rec"]


def test_what_nobody_may_look_at_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    for opened in (open_source, rec_files):
        with pytest.raises(UserError, match="^/closed/a: cannot be read: Permission denied$"):
            opened("/closed/a")
    monkeypatch.undo()
    monkeypatch.setattr(os, "listdir", refuse)
    for opened in (open_source, rec_files):
        with pytest.raises(UserError, match=f"^{tmp_path}: cannot be listed: Permission denied$"):
            opened(tmp_path)
