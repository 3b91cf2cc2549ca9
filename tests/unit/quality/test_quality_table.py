"""Tables of users' own quality: which column, which image, and what is refused."""

import os
import pickle

import pytest

from plsc.data.sets.open import open_pairs
from plsc.errors import UserError
from plsc.quality.quality_table import read_quality_table

ONE_IMAGE = "no row for 1 of 4 images, the first is b/2.png or"


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.txt").write_text("a/1.png\tb/2.png\t1\na/1.png\ta/3.png\t0\n")
    return open_pairs(tmp_path / "pairs.txt")


@pytest.fixture
def bin_pairs(tmp_path):
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([b"x"] * 4, [True, False])))
    return open_pairs(tmp_path / "lfw.bin")


def read(tmp_path, text, name="mine"):
    file = tmp_path / "quality.csv"
    file.write_text(text)
    return read_quality_table(name, file)


@pytest.mark.parametrize(
    "text",
    [
        "a/1.png,1\nb/2.png,2.5\na/3.png,-3\n",
        "\ufeffa/1.png,1\r\n\r\nb/2.png,2.5\r\na/3.png,-3\r\n",
        "path,anything\na/1.png,1\nb/2.png,2.5\na/3.png,-3\nunused.png,9\n",
        "image;other\na/1.png;1\nb/2.png;2.5\na/3.png;-3\n",
        "other\tmine\tpath\nx\t1\ta/1.png\nx\t2.5\tb/2.png\n\t-3\ta/3.png\n",
        'file,mine,error\n"a/1.png",1,\nb/2.png,25e-1,\na/3.png,-3,\na/3.png,-3,again\n',
    ],
)
def test_forms_of_a_table(tmp_path, pairs, text):
    assert read(tmp_path, text).of(pairs).tolist() == [1, 2.5, 1, -3]


def test_images_by_their_place(tmp_path, pairs, monkeypatch):
    places = [tmp_path / name for name in ("a/1.png", "b/2.png", "a/3.png")]
    assert read(tmp_path, "".join(f"{p},1\n" for p in places)).of(pairs).tolist() == [1] * 4
    monkeypatch.chdir(tmp_path / "..")
    rows = "".join(f"./{os.path.relpath(place)},2\n" for place in places)
    assert read(tmp_path, rows).of(pairs).tolist() == [2] * 4


@pytest.mark.parametrize("prefix", ["", "lfw.bin:"])
def test_images_of_a_bin_by_their_number(tmp_path, bin_pairs, prefix):
    table = read(tmp_path, "".join(f"{prefix}{number},{number * 10}\n" for number in (3, 1, 0, 2)))
    assert table.of(bin_pairs).tolist() == [0, 10, 20, 30]
    with pytest.raises(UserError, match="no row for 4 of 4 images, the first is 0 or lfw.bin:0"):
        read(tmp_path, "cfp.bin:0,1\n1.png,2\n").of(bin_pairs)


def test_lfws_own_list(tmp_path):
    for name in ("A_B/A_B_0001", "A_B/A_B_0002", "C/C_0007"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    (tmp_path / "pairs.txt").write_text("1\t1\nA_B\t1\t2\nA_B\t2\tC\t7\n")
    pairs = open_pairs(tmp_path / "pairs.txt")
    table = read(tmp_path, "path,mine\nA_B/A_B_0001.jpg,1\nA_B/A_B_0002.jpg,2\nC/C_0007.jpg,3\n")
    assert table.of(pairs).tolist() == [1, 2, 2, 3]


def test_missing_rows_name_the_first_image(tmp_path, pairs):
    with pytest.raises(UserError, match=ONE_IMAGE):
        read(tmp_path, "a/1.png,1\na/3.png,2\n").of(pairs)
    with pytest.raises(UserError, match=r"quality.csv: no row for 3 of 4 .* first is a/1.png or"):
        read(tmp_path, "b/2.png,1\n").of(pairs)


@pytest.mark.parametrize("header", ["", "path,mine\n"])
def test_an_image_that_was_skipped(tmp_path, pairs, header):
    rows = "a/1.png,1\nb/2.png,2\na/3.png,3\n"
    table = read(tmp_path, f"{header}other.png,\nother.png,\n{rows}")
    assert table.of(pairs).tolist() == [1, 2, 1, 3]
    skipped = r"quality.csv: no number for 1 of 4 images, the first is b/2.png: leave out its pairs"
    for text in (rows.replace(",2", ","), "b/2.png,\n" + rows.replace("b/2.png,2\n", "")):
        with pytest.raises(UserError, match=skipped):
            read(tmp_path, header + text).of(pairs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: each line is a path and a number"),
        ("a.png,1\nb.png,nan\n", r":2: quality must be a finite number, got 'nan'"),
        ("a.png,nan\n", r":1: quality must be a finite number, got 'nan'"),
        ("path,mine\na.png,inf\n", ":2: quality must be a finite number, got 'inf'"),
        ("path,mine\na.png, \n", ":2: quality must be a finite number, got ' '"),
        ("a.png,1\na.png,\n", ":2: a.png has quality none here and 1 above"),
        ("a.png,1\nb.png,good\n", ":2: quality must be a finite number, got 'good'"),
        ("a.png,1\nb.png\n", ":2: must be a path and a number, got 'b.png'"),
        (
            "path,x,y\na.png,1,2\n",
            "no column 'mine' among 'path', 'x', 'y': give the measure the name",
        ),
        ("a.png,1,2\n", "no column 'mine' among 'a.png', '1', '2'"),
        ("path\na.png\n", "no column 'mine' among 'path'"),
        ("a.png,1\na.png,2\n", ":2: a.png has quality 2 here and 1 above"),
        ("a.png,1\n\n\nb.png,x\n", ":4: quality"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="nowhere.csv: cannot be read: No such file"):
        read_quality_table("mine", tmp_path / "nowhere.csv")
