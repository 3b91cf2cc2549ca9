"""What plsc-embed and plsc-quality take: images of verification sets among all other kinds."""

import pickle

import pytest

from plsc.data.sets.open import fingerprint, open_images, open_pairs
from plsc.errors import UserError

PAIRS = "a/1.png\tb/2.png\t1\na/1.png\ta/3.png\t0\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with three files that hold their own names."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.png", "b/2.png", "a/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def content(source):
    return [(source.name(row), source.read(row)[0].decode()) for row in range(len(source))]


@pytest.mark.parametrize("form", ["label.txt", ".", "pairs.tsv"])
def test_images_of_a_list_of_pairs(place, form):
    (place / ("label.txt" if form == "." else form)).write_text(PAIRS)
    source = open_images(form)
    assert content(source) == [(name, name) for name in ("a/1.png", "b/2.png", "a/3.png")]
    assert source.labels is None and source.read(0)[1] == -1
    assert "pair 2" in source.where(2)
    names = {open_pairs(form).names(row)[0] for row in range(4)}
    assert {source.name(row) for row in range(3)} == names


def test_the_folder_where_a_list_begins(place):
    (place / "lists").mkdir()
    (place / "lists" / "pairs.txt").write_text(PAIRS)
    source = open_images("lists/pairs.txt", image_root=".")
    assert [read for _, read in content(source)] == ["a/1.png", "b/2.png", "a/3.png"]
    about = fingerprint(["lists/pairs.txt"], source, image_root=".")
    assert about["image_root"] == str(place)


def test_images_of_lfws_list(place):
    for number in (1, 2):
        (place / "A_B").mkdir(exist_ok=True)
        (place / f"A_B/A_B_000{number}.jpg").write_text(f"A_B/A_B_000{number}.jpg")
    (place / "C").mkdir()
    (place / "C/C_0007.png").write_text("C/C_0007.png")
    (place / "pairs.txt").write_text("1\t1\nA_B\t1\t2\nA_B\t2\tC\t7\n")
    names = ["A_B/A_B_0001.jpg", "A_B/A_B_0002.jpg", "C/C_0007.png"]
    assert content(open_images("pairs.txt")) == [(name, name) for name in names]


def test_images_of_a_bin_are_numbers(place):
    (place / "lfw.bin").write_bytes(pickle.dumps(([b"x", b"y", b"x", b"z"], [True, False])))
    found = content(open_images("lfw.bin"))
    assert found == [("0", "x"), ("1", "y"), ("2", "x"), ("3", "z")]
    with pytest.raises(UserError, match="--image-root belongs to a list, and lfw.bin is none"):
        open_images("lfw.bin", image_root="a")


def test_a_list_of_images_stays_one(place):
    (place / "list.txt").write_text("a/1.png\t0\na/1.png\t0\nb/2.png\t1\n")
    assert len(open_images("list.txt")) == 3
    (place / "list.txt").write_text("a/1.png 0 0 0\n")
    assert open_images("list.txt").labels.tolist() == [0]


def test_what_is_asked_for_by_its_layout_is_a_list_of_images(place):
    (place / "a\tb").write_text("x")
    (place / "list.txt").write_text("a\tb\t1\n")
    for layout in ({"delimiter": "\t"}, {"list_format": "plsc"}):
        assert open_images("list.txt", **layout).labels.tolist() == [1]


def test_a_hidden_record_file_is_not_the_set(place):
    """macOS leaves `._train.rec` on disks of other systems."""
    (place / "._train.rec").write_bytes(b"hidden")
    source = open_images(".")
    assert [name for name, _ in content(source)] == ["a/1.png", "a/3.png", "b/2.png"]
    before = fingerprint(["."], source)
    (place / "a/1.png").rename(place / "a/0.png")
    assert fingerprint(["."], open_images(".")) != before


def test_no_source(place):
    for name in ("nowhere", "nowhere.txt", "nowhere.bin"):
        with pytest.raises(UserError, match=name):
            open_images(name)
