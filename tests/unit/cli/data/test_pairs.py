import collections
import pickle

import cv2
import numpy as np
import pytest
from pictures import noise

from plsc.cli.data.main import build_parser
from plsc.cli.status import exit_status
from plsc.data.sets.bin_file import read_bin
from plsc.datatools.bin_writer import write_bin
from plsc.errors import UserError


def run(*arguments):
    options = build_parser().parse_args(["pairs", *map(str, arguments), "--workers", "1"])
    return options.run(options)


@pytest.fixture
def people(tmp_path):
    """Folders of 8 persons with 4 images each, named as LFW's are; one image is a PNG."""
    for person in range(8):
        folder = tmp_path / "people" / f"Name_{person}"
        folder.mkdir(parents=True)
        for number in range(1, 5):
            ending = ".png" if (person, number) == (2, 3) else ".jpg"
            content = noise(10 * person + number, ending=ending)
            (folder / f"Name_{person}_{number:04d}{ending}").write_bytes(content)
    return tmp_path / "people"


def image(people, person, number):
    (path,) = people.glob(f"Name_{person}/*_{number:04d}.*")
    return path.read_bytes()


LFW = "2\t2\nName_0\t1\t2\nName_2\t3\t4\nName_0\t1\tName_1\t1\nName_3\t2\tName_4\t4\n" + (
    "Name_5\t1\t3\nName_6\t1\t4\nName_5\t1\tName_7\t2\nName_6\t2\tName_7\t3\n"
)
LFW_PAIRS = [
    ((0, 1), (0, 2)), ((2, 3), (2, 4)), ((0, 1), (1, 1)), ((3, 2), (4, 4)),
    ((5, 1), (5, 3)), ((6, 1), (6, 4)), ((5, 1), (7, 2)), ((6, 2), (7, 3)),
]  # fmt: skip


def load_as_insightface(path):
    with open(path, "rb") as file:
        return pickle.load(file, encoding="bytes")


@pytest.mark.parametrize("header", ["2\t2", "2 2", "4"])
def test_pairs_of_lfw(people, tmp_path, header, capsys):
    (tmp_path / "pairs.txt").write_text(LFW.replace("2\t2", header, 1).replace("\n", "\r\n"))
    output = tmp_path / "lfw.bin"
    assert run(tmp_path / "pairs.txt", output, "--image_root", people, "--json") == 0
    assert '"num_pairs": 8, "num_same": 4, "num_different": 4' in capsys.readouterr().out
    images, issame = load_as_insightface(output)
    assert images == [image(people, *side) for pair in LFW_PAIRS for side in pair]
    assert issame == [left[0] == right[0] for left, right in LFW_PAIRS]
    assert all(type(item) is bytes for item in images) and all(type(s) is bool for s in issame)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LFW.replace("2\t2", "3\t2", 1), "4 pairs of one person, the first line counts 3 x 2"),
        (LFW.rsplit("\n", 2)[0] + "\n", "3 pairs of two persons, the first line counts 2 x 2"),
        (LFW.replace("Name_3\t2", "Name_3\tx"), r"pairs\.txt:5: must be `name i j` or"),
        (LFW.replace("Name_3\t2", "Name_3"), r"4 of two|one person|must be"),
        (LFW.replace("Name_7\t2", "Name_5\t2"), r"pairs\.txt:8: names Name_5 twice"),
        (LFW.replace("Name_7\t2", "Name_7\t9"), r"pairs\.txt:8: no image .*Name_7_0009 with"),
        (LFW.replace("Name_7\t2", "../Name_7\t2"), r"pairs\.txt:8: path .*'\.\.'"),
        ("0\t2\n", "must be the numbers of folds"),
    ],
)
def test_a_wrong_pairs_txt_is_named(people, tmp_path, text, message):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        run(tmp_path / "pairs.txt", tmp_path / "lfw.bin", "--image_root", people)
    assert not list(tmp_path.glob("lfw*"))


def test_pairs_of_folders(people, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert run(people, tmp_path / f"{name}.bin", "--num_pairs", 80, "--seed", seed) == 0
    contents = [(tmp_path / f"{name}.bin").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]
    images, issame = load_as_insightface(tmp_path / "a.bin")
    person_of = {path.read_bytes(): path.parent.name for path in people.glob("*/*")}
    chosen = list(zip(images[::2], images[1::2], strict=True))
    assert issame == [person_of[left] == person_of[right] for left, right in chosen]
    assert issame == [True, False] * 40
    assert len({frozenset(pair) for pair in chosen}) == 80
    uses = collections.Counter(person_of[item] for item in images)
    assert set(uses.values()) == {20}  # all alike
    # An image that is in several pairs is stored once.
    assert len(contents[0]) < sum(map(len, set(images))) + 2000


def test_a_list_of_pairs_and_back(people, tmp_path):
    lines = [
        f"Name_{left[0]}/Name_{left[0]}_{left[1]:04d}.jpg\t"
        f"Name_{right[0]}/Name_{right[0]}_{right[1]:04d}.jpg\t{int(left[0] == right[0])}\n"
        for left, right in LFW_PAIRS
        if (2, 3) not in (left, right)
    ]
    (people / "list.tsv").write_text("".join(lines))
    assert run(people / "list.tsv", tmp_path / "a.bin") == 0
    images, issame = read_bin(tmp_path / "a.bin")
    assert len(images) == 14 and issame.tolist() == [line.endswith("1\n") for line in lines]

    assert run(tmp_path / "a.bin", tmp_path / "apart") == 0
    rows = [line.split("\t") for line in (tmp_path / "apart/label.txt").read_text().splitlines()]
    assert [path for *paths, _ in rows for path in paths][:3] == [
        "images/00000000_0.jpg",
        "images/00000000_1.jpg",
        "images/00000001_0.jpg",
    ]
    assert [
        (tmp_path / "apart" / path).read_bytes() for *paths, _ in rows for path in paths
    ] == images
    for again in ("apart", "apart/label.txt"):
        assert run(tmp_path / again, tmp_path / "b.bin") == 0
        assert (tmp_path / "b.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()


def test_the_ending_of_a_file_says_what_it_is(tmp_path):
    endings = [".jpg", ".png", ".bmp", ".webp"]
    write_bin(
        tmp_path / "a.bin",
        [noise(n, side=8, ending=end) for n, end in enumerate(endings)],
        [True, False],
    )
    run(tmp_path / "a.bin", tmp_path / "apart")
    names = sorted(path.suffix for path in (tmp_path / "apart/images").iterdir())
    assert names == sorted(endings)
    write_bin(tmp_path / "b.bin", [noise(0), b"junk"], [True])
    with pytest.raises(UserError, match=r"b\.bin: image 1: no image of a known format"):
        run(tmp_path / "b.bin", tmp_path / "apart_b")
    assert not list(tmp_path.glob("apart_b*"))


def test_faces_that_are_not_aligned_are_refused_or_resized(people, tmp_path):
    path = people / "Name_1/Name_1_0002.jpg"
    path.write_bytes(noise(0, side=250))
    with pytest.raises(
        UserError, match=r"Name_1_0002\.jpg: the image is 250x250 .* align the faces"
    ):
        run(people, tmp_path / "a.bin", "--num_pairs", 80)
    assert not list(tmp_path.glob("a*"))
    run(people, tmp_path / "a.bin", "--num_pairs", 80, "--size", 112)
    images, _ = read_bin(tmp_path / "a.bin")
    others = {file.read_bytes() for file in people.glob("*/*")}
    (resized,) = set(images) - others
    pixels = cv2.imdecode(np.frombuffer(resized, np.uint8), cv2.IMREAD_COLOR)
    original = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    expected = cv2.resize(original, (112, 112), interpolation=cv2.INTER_AREA)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 15  # 10 by JPEG, another picture 26


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["people", "a.txt"], "a.txt: the output must end in .bin"),
        (["people", "a.bin", "--num_pairs", "30"], "num_pairs must be a multiple of 20"),
        (["people", "a.bin"], "num_pairs 6000 needs 3000 pairs of one person, .* have 48"),
        (["people", "a.bin", "--size", "0"], "--size must be from 1 to 4096, got 0"),
        (["real.bin", "apart", "--size", "112"], "--size: the images of .* stay as they are"),
        (["people", "a.bin", "--seed", "-1"], "--seed must be at least 0, got -1"),
        (["real.bin", "apart", "--seed", "1"], "--seed is for sets with classes"),
        (["real.bin", "people"], "people: exists and is not an empty folder"),
        (["nothing", "a.bin"], "nothing: no such file or folder"),
        (
            ["people", "no/folder/a.bin", "--num_pairs", "20"],
            "a.bin: cannot be written: .* is not a folder",
        ),
    ],
)
def test_mistakes_are_named_and_leave_nothing(people, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_bin("real.bin", [noise(0), noise(1)], [True])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        run(*arguments)
    assert sorted(tmp_path.iterdir()) == before


def test_an_unreadable_record_is_named(people, tmp_path):
    (people / "Name_1/Name_1_0002.jpg").write_bytes(noise(0)[:-50])
    with pytest.raises(UserError, match=r"Name_1_0002\.jpg: the JPEG is cut short"):
        run(people, tmp_path / "a.bin", "--num_pairs", 80)


def test_a_bin_replaces_another_only_when_it_is_whole(people, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")

    def images():
        yield noise(0)
        raise UserError("the second is gone")

    assert exit_status("test", lambda: write_bin(tmp_path / "a.bin", images(), [True])) == 2
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.bin"]


def test_a_list_of_images_with_numbers_for_names_is_no_pairs_txt(tmp_path):
    for name in range(4):
        (tmp_path / str(name)).write_bytes(noise(name))
    (tmp_path / "list.txt").write_text("".join(f"{name}\t{name // 2}\n" for name in range(4)))
    with pytest.raises(UserError, match="4 images of 2 identities have 2"):
        run(tmp_path / "list.txt", tmp_path / "a.bin", "--num_pairs", 20)
    (tmp_path / "list.txt").write_text("10 300\n")
    with pytest.raises(UserError, match="0 pairs of one person, the first line counts 10 x 300"):
        run(tmp_path / "list.txt", tmp_path / "a.bin")
