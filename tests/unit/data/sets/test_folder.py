import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.data.sets.base import BadImage
from plsc.data.sets.folder import FolderImages
from plsc.errors import UserError


def make(root, *names):
    """Files that hold their own names."""
    for name in names:
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.fsencode(name))
    return root


def names_of(root):
    source = FolderImages(root)
    return [source.name(index) for index in range(len(source))]


def test_identities_and_images_are_sorted_by_name(tmp_path):
    names = [
        "b/2.jpg",
        "b/10.png",
        "a/x.JPG",
        "a/X.jpeg",
        "B/1.bmp",
        "é/1.webp",
        "10/1.jpg",
        "9/1.jpg",
    ]
    source = FolderImages(make(tmp_path, *names))
    assert source.identities == ["10", "9", "B", "a", "b", "é"]
    expected = [
        "10/1.jpg",
        "9/1.jpg",
        "B/1.bmp",
        "a/X.jpeg",
        "a/x.JPG",
        "b/10.png",
        "b/2.jpg",
        "é/1.webp",
    ]
    labels = [0, 1, 2, 3, 3, 4, 4, 5]
    assert (len(source), source.num_classes, source.num_ignored) == (8, 6, 0)
    assert source.labels.dtype == np.int32 and source.labels.tolist() == labels
    for index, (name, label) in enumerate(zip(expected, labels, strict=True)):
        assert source.name(index) == name
        assert source.where(index) == f"{tmp_path}/{name}"
        assert source.read(index) == (name.encode(), label)


def test_what_is_hidden_does_not_count_and_what_is_no_image_is_counted(tmp_path):
    make(tmp_path, "a/1.jpg", "a/.2.jpg", "a/.hidden/1.jpg", ".git/1.jpg", ".DS_Store", "a/.jpg")
    assert FolderImages(tmp_path).num_ignored == 0
    make(tmp_path, "README.txt", "cover.jpg", "a/Thumbs.db", "a/jpg", "a/1.jpg.part")
    source = FolderImages(tmp_path)
    assert (len(source), source.name(0), source.num_ignored) == (1, "a/1.jpg", 5)


def test_links_to_folders_and_images_are_followed(tmp_path):
    make(tmp_path / "store", "x/1.jpg", "2.jpg")
    make(tmp_path / "root", "a/1.jpg", "b/1.jpg")
    (tmp_path / "root" / "c").symlink_to(tmp_path / "store" / "x")
    (tmp_path / "root" / "a" / "2.jpg").symlink_to(tmp_path / "store" / "2.jpg")
    (tmp_path / "root" / "b" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "root" / "b" / "folder.jpg").symlink_to(tmp_path / "store" / "x")
    (tmp_path / "root" / "b" / "circle").symlink_to("circle")
    (tmp_path / "root" / "circle").symlink_to("circle")
    source = FolderImages(tmp_path / "root")
    names = [source.name(index) for index in range(len(source))]
    assert names == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/folder.jpg", "b/gone.jpg", "c/1.jpg"]
    assert [source.read(index)[0] for index in (1, 5)] == [b"2.jpg", b"x/1.jpg"]
    assert source.num_ignored == 2
    with pytest.raises(BadImage, match=r"b/folder\.jpg: cannot be read: Is a directory"):
        source.read(3)
    with pytest.raises(BadImage, match=r"b/gone\.jpg: cannot be read: No such file"):
        source.read(4)
    (tmp_path / "root" / "a" / "more").symlink_to(tmp_path / "store" / "x")
    with pytest.raises(UserError, match=r"root/a: holds images and the folder 'more'"):
        FolderImages(tmp_path / "root")


@pytest.mark.parametrize(
    ("files", "folders", "message"),
    [
        (["1.jpg", "2.png", "x.txt"], [], r"holds no folders; it holds 2 images itself: move each"),
        (["x.txt"], [], r"holds no folders; move each image into a folder of its identity"),
        (["a/1.jpg"], ["b"], r"/b: holds no images \(\.jpg .*\): remove this folder"),
        (["a/1.jpg", "b/notes.txt"], [], r"/b: holds no images"),
        (["a/1.jpg", "a/b/1.jpg"], [], r"/a: holds images and the folder 'b': images must lie dir"),
        (["images/a/1.jpg", "images/b/1.jpg"], [], r"/images: holds folders and no images: .*high"),
        (["a/1.jpg"], ["b\nc"], r"b\\nc': holds no images"),
    ],
)
def test_what_is_no_folder_per_identity_is_named(tmp_path, files, folders, message):
    make(tmp_path, *files)
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match=rf"^'?{re.escape(str(tmp_path))}.*{message}") as caught:
        FolderImages(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_root_that_cannot_be_listed_is_named(tmp_path):
    make(tmp_path, "a/1.jpg")
    with pytest.raises(UserError, match=r"absent: cannot be listed: No such file"):
        FolderImages(tmp_path / "absent")
    with pytest.raises(UserError, match=r"1\.jpg: cannot be listed: Not a directory"):
        FolderImages(tmp_path / "a" / "1.jpg")


ODD = st.binary(min_size=1, max_size=12).map(
    lambda name: name.replace(b"\0", b"\n").replace(b"/", b" ").replace(b".", b"\xff")
)


@given(st.dictionaries(ODD, st.sets(ODD, min_size=1, max_size=4), min_size=1, max_size=4))
@settings(max_examples=40)
def test_any_name_is_kept(tmp_path_factory, tree):
    root = os.fsencode(tmp_path_factory.mktemp("root"))
    for identity, files in tree.items():
        os.mkdir(os.path.join(root, identity))
        for name in files:
            with open(os.path.join(root, identity, name + b".jpg"), "wb") as file:
                file.write(identity + b"/" + name)
    source = FolderImages(os.fsdecode(root))
    expected = sorted(
        (os.fsdecode(identity), os.fsdecode(name + b".jpg"))
        for identity, files in tree.items()
        for name in files
    )
    assert [source.name(index) for index in range(len(source))] == [
        "/".join(pair) for pair in expected
    ]
    assert source.identities == sorted({identity for identity, _ in expected})
    for index, (identity, name) in enumerate(expected):
        encoded, label = source.read(index)
        assert source.identities[label] == identity
        assert encoded == os.fsencode(f"{identity}/{name}").removesuffix(b".jpg")
        assert source.where(index).isprintable()


def test_a_short_listing_says_nothing(tmp_path, capsys):
    make(tmp_path, *(f"{identity:03}/{image}.jpg" for identity in range(50) for image in range(5)))
    assert len(FolderImages(tmp_path)) == 250
    assert capsys.readouterr() == ("", "")


def test_a_long_listing_shows_its_progress(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("plsc.data.sets.folder.SHOW_PROGRESS_AFTER", 1e-9)
    make(tmp_path, *(f"{identity}/0.jpg" for identity in range(50)))
    FolderImages(tmp_path)
    output, progress = capsys.readouterr()
    assert output == "" and "50/50" in progress and "folders" in progress
