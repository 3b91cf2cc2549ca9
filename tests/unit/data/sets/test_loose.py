"""Images anywhere below a folder: which, in what order, and when they have classes."""

import os

import pytest

from plsc.data.sets.folder import FolderImages
from plsc.data.sets.loose import LooseImages, folder_images
from plsc.errors import UserError


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def all_names(source):
    return [source.name(index) for index in range(len(source))]


def test_what_is_found_and_in_what_order(tmp_path):
    write(tmp_path, "b.jpg", "a/z.PNG", "a/b/c.webp", "a-b/1.bmp", "notes.txt", ".hidden.png")
    write(tmp_path, ".git/1.png", "a/.x/2.png")
    source = folder_images(tmp_path)
    assert isinstance(source, LooseImages) and source.labels is source.num_classes is None
    assert all_names(source) == ["a/b/c.webp", "a/z.PNG", "a-b/1.bmp", "b.jpg"]
    assert source.read(1) == (b"a/z.PNG", -1)
    assert source.where(3) == str(tmp_path / "b.jpg")


def test_links_are_followed_once(tmp_path):
    write(tmp_path / "elsewhere", "1.png")
    root = write(tmp_path / "root", "a/2.png", "3.png")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "round").symlink_to(root)
    assert all_names(LooseImages(root)) == ["3.png", "a/2.png", "link/1.png"]


def test_a_folder_of_identities_has_classes(tmp_path):
    write(tmp_path, "ann/1.png", "bob/1.png", "bob/2.png", "readme.txt")
    source = folder_images(tmp_path)
    assert isinstance(source, FolderImages) and source.labels.tolist() == [0, 1, 1]
    write(tmp_path, "stray.png")  # of nobody: as a set of identities it would be left out
    assert len(folder_images(tmp_path)) == 4
    assert folder_images(tmp_path).labels is None


def test_an_empty_folder_among_others_ends_nothing(tmp_path):
    write(tmp_path, "ann/1.png")
    (tmp_path / "nobody").mkdir()
    assert all_names(folder_images(tmp_path)) == ["ann/1.png"]


def test_mistakes(tmp_path):
    write(tmp_path, "a/notes.txt")
    with pytest.raises(UserError, match=r"holds no images \(.jpg .jpeg"):
        folder_images(tmp_path)
    source = LooseImages(write(tmp_path, "x\ny.png"))
    os.unlink(tmp_path / "x\ny.png")
    with pytest.raises(UserError, match=r"x\\ny.png': cannot be read: No such file"):
        source.read(0)
