"""Lists of the field's forms, told by their columns: read as what they are, or refused by name."""

import unicodedata

import numpy as np
import pytest

from plsc.data.sets.files import why_missing
from plsc.data.sets.folder import FolderImages
from plsc.data.sets.open import open_pairs, open_source
from plsc.errors import UserError

PEOPLE, EACH = ("Ann_Lee", "Bo_Ray", "Cy_Doe"), 4


@pytest.fixture
def root(tmp_path):
    for name in PEOPLE:
        (tmp_path / name).mkdir()
        for number in range(1, EACH + 1):
            for path in (f"{name}_{number}.jpg", f"{name}/{name}_{number:04d}.jpg"):
                (tmp_path / path).write_bytes(path.encode())
    return tmp_path


def write(root, lines, name="list.txt"):
    path = root / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


PAIRED = [
    *("Ann_Lee_1.jpg 1", "Ann_Lee_2.jpg 1", "Ann_Lee_1.jpg 0", "Bo_Ray_2.jpg 0"),
    *("Cy_Doe_3.jpg 1", "Cy_Doe_1.jpg 1", "Cy_Doe_4.jpg 0", "Ann_Lee_3.jpg 0"),
    *("Bo_Ray_3.jpg 2", "Bo_Ray_1.jpg 2", "Bo_Ray_4.jpg 0", "Cy_Doe_3.jpg 0"),
]


def test_two_lines_a_pair_are_pairs_and_no_training_list(root):
    path = write(root, PAIRED)
    pairs = open_pairs(path)
    assert pairs.issame.tolist() == [True, False, True, False, True, False]
    assert [pairs.name(index) for index in (0, 3)] == ["Ann_Lee_1.jpg", "Bo_Ray_2.jpg"]
    with pytest.raises(UserError, match="to verify, not images with classes"):
        open_source(path)


@pytest.mark.parametrize("lost", [0, 3, 8])
def test_a_lost_line_makes_no_training_list_of_pairs(root, lost):
    with pytest.raises(UserError, match=r"list.txt:\d+: two lines are a pair"):
        open_pairs(write(root, PAIRED[:lost] + PAIRED[lost + 1 :]))


@pytest.mark.parametrize(
    "lines",
    [
        [f"p{c}/{k}.jpg {c}" for c in (0, 1) for k in range(1, 7)],
        [f"p{c}/{side}_{k}.jpg {c}" for c in (0, 1, 2) for side in "ab" for k in (1, 2)],
        [f"{c * 6 + k:06d}.jpg {c}" for c in (0, 1) for k in range(6)],
        [f"Ann_{k}.jpg 0" for k in range(6)] + [f"Bo_{k}.jpg 1" for k in range(6)],
        ["a.jpg 0", "b.jpg 0"],
    ],
)
def test_images_with_few_classes_are_no_pairs(tmp_path, lines):
    assert open_pairs(write(tmp_path, lines)) is None


PAIR = ["Ann_Lee_1.jpg", "Ann_Lee_2.jpg"]


@pytest.mark.parametrize("delimiter", ["\t", " ", ",", ";"])
def test_pairs_with_any_delimiter(root, delimiter):
    path = write(root, [delimiter.join([*PAIR, "1"]), delimiter.join([*PAIR[::-1], "1"])])
    assert open_pairs(path).issame.tolist() == [True, True]
    with pytest.raises(UserError, match="label.*first|flag comes first"):
        open_pairs(write(root, [delimiter.join(["1", *PAIR])]))


def test_lfw_without_its_first_line(root):
    pairs = open_pairs(write(root, ["Ann_Lee\t1\t2", "Bo_Ray\t1\tCy_Doe\t4"]))
    assert pairs.issame.tolist() == [True, False]
    assert pairs.name(3) == "Cy_Doe/Cy_Doe_0004.jpg"


@pytest.mark.parametrize(
    "line",
    [
        "1\t{path}\t{label}",
        "1\t{path}\t{label}\t30.5\t40.1",
        "7\t{label}.000000\t{path}",
        "{path},{label}",
        "{path}\t{label}",
        "{path} {label}",
        "{path} 0 {label} 0",
    ],
)
def test_images_with_classes_in_the_forms_of_the_field(root, line):
    paths = [f"{name}_{number}.jpg" for name in PEOPLE for number in (1, 2)]
    labels = np.repeat(range(3), 2)
    lines = [line.format(path=path, label=label) for path, label in zip(paths, labels, strict=True)]
    header = ["image,label"] * ("," in line)
    source = open_source(write(root, header + lines))
    assert [source.name(index) for index in range(6)] == paths
    assert source.labels.tolist() == labels.tolist()
    assert source.read(5)[0] == b"Cy_Doe_2.jpg"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "gbk"])
def test_another_encoding_is_said_with_its_line(root, encoding):
    path = root / "list.txt"
    path.write_bytes("Ann_Lee_1.jpg\t0\n数.jpg\t1\n".encode(encoding))
    with pytest.raises(UserError, match=r"list.txt:\d: .*UTF-8"):
        open_source(path)


@pytest.mark.parametrize(
    ("disk", "listed", "said"),
    [
        (unicodedata.normalize("NFD", "é.jpg"), "é.jpg", "form NFD"),
        ("é.jpg", unicodedata.normalize("NFD", "é.jpg"), "form NFC"),
        ("A.JPG", "a.jpg", "the disk has A.JPG"),
        ("a/b.jpg", "a\\b.jpg", "replace each"),
        ("a.jpg", '"a.jpg"', "quotes"),
    ],
)
def test_why_a_listed_file_is_not_found(tmp_path, disk, listed, said):
    (tmp_path / disk).parent.mkdir(exist_ok=True)
    (tmp_path / disk).touch()
    assert said in why_missing(str(tmp_path / listed))
    assert why_missing(str(tmp_path / "other.jpg")) == ""


def test_a_folder_says_what_it_leaves_out_and_takes_no_system_for_a_person(root):
    for name in ("@eaDir", "lost+found", "__MACOSX", ".Trash-1000", "#recycle"):
        (root / name).mkdir()
        (root / name / "thumb.jpg").touch()
    (root / "Ann_Lee" / "@eaDir").mkdir()
    (root / "Ann_Lee" / "clip.MP4").touch()
    (root / "Ann_Lee" / "photo.tif").touch()
    (root / "Bo_Ray" / "Thumbs.db").touch()
    source = FolderImages(root)
    assert source.identities == list(PEOPLE)
    assert len(source) == 3 * EACH + 1
    for part in ("1 .mp4", "1 .db", "12 .jpg", "@eaDir", "lost+found"):
        assert part in source.left_out
