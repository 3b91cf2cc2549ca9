import json
import sys

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pictures import noise

from plsc.cli.data.main import build_parser
from plsc.config.component import Component
from plsc.config.registry import DATASETS
from plsc.datatools.checks.set_summary import Identities, histogram_text
from plsc.errors import UserError


def run(*arguments):
    options = build_parser().parse_args(["inspect", *map(str, arguments), "--workers", "1"])
    return options.run(options)


@pytest.fixture
def people(tmp_path):
    """1, 2, ... 6 images of 6 persons; the last is larger and a PNG."""
    for person in range(6):
        folder = tmp_path / "people" / f"p{person}"
        folder.mkdir(parents=True)
        for number in range(person + 1):
            (folder / f"{number}.jpg").write_bytes(noise(10 * person + number))
    (folder / "5.jpg").unlink()
    (folder / "5.png").write_bytes(noise(99, side=120, width=130, ending=".png"))
    return tmp_path / "people"


def test_a_folder(people, capsys):
    assert run(people, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["num_images"], report["num_identities"], report["class_num"]) == (21, 6, 6)
    assert report["num_classes_without_images"] == report["num_images_of_unknown_class"] == 0
    per_identity = report["images_per_identity"]
    assert per_identity["histogram"] == [
        {"from": number, "to": number, "identities": 1} for number in range(1, 7)
    ]
    del per_identity["histogram"]
    assert per_identity == {
        "min": 1, "median": 3.5, "mean": 3.5, "max": 6, "with_one": 1,
        "fewer_than_5": 4, "fewer_than_10": 6, "fewer_than_20": 6,
    }  # fmt: skip
    sizes = [path.stat().st_size for path in people.glob("*/*")]
    assert report["sample"] == {
        "num_images": 21,
        "mean_bytes": round(sum(sizes) / 21),
        "formats": {"jpg": 20, "png": 1},
        "sizes": {"112x112": 20, "130x120": 1},
        "unusable": [],
    }


def test_the_text_says_the_same(people, capsys):
    (people / "p0/0.jpg").write_bytes(b"junk")
    assert run(people) == 0
    text = capsys.readouterr().out
    for line in (
        "images:     21",
        "identities: 6",
        "Model.class_num: 6",
        "images per identity: 1 to 6, median 3.5, mean 3.5",
        "  1 identities have one, 4 have fewer than 5, 6 have fewer than 10, 6 have fewer than 20",
        f"  1 | {50 * '#'} 1",
        "  formats: 19 jpg, 1 png",
        "  sizes:   19 112x112, 1 130x120",
        "  1 cannot be used (plsc-data check finds all such):",
    ):
        assert line in text.splitlines()
    assert "p0/0.jpg: cannot be decoded" in text


def test_a_sample_is_spread_over_the_set(people, capsys):
    run(people, "--json", "--sample", 2)
    sample = json.loads(capsys.readouterr().out)["sample"]
    assert sample["num_images"] == 2 and sample["formats"] == {"jpg": 1, "png": 1}
    run(people, "--json", "--sample", 0)
    assert json.loads(capsys.readouterr().out)["sample"]["num_images"] == 21
    with pytest.raises(UserError, match="--sample must be at least 0, got -1"):
        run(people, "--sample", -1)


def lists_of(people):
    rows = [
        (path.relative_to(people).as_posix(), int(path.parent.name[1:]))
        for path in sorted(people.glob("*/*"))
    ]
    return {
        "tabs": "".join(f"{path}\t{label}\n" for path, label in rows),
        "commas": "".join(f"\n{path},{label}\r\n" for path, label in rows),
        "spaces": "".join(f"{path} {label}\n" for path, label in rows),
        "magface": "".join(f"{path} 0 {label} 0\n" for path, label in rows),
        "gap": "".join(f"{path}\t{2 * label}\n" for path, label in rows),
    }


@pytest.mark.parametrize("kind", ["folder", "label.txt", "tabs", "commas", "spaces", "magface"])
def test_the_lines_for_the_config_train_on_the_set(people, tmp_path, capsys, kind):
    """A dataset that is built of them has the set's images and labels."""
    root = tmp_path / "lists"
    place, root_option = people, []
    if kind == "label.txt":
        (people / kind).write_text(lists_of(people)["tabs"])
    elif kind != "folder":
        root.mkdir()
        (root / "list").write_text(lists_of(people)[kind])
        place, root_option = root / "list", ["--image_root", people]
    (people / "p5/5.png").write_bytes(noise(99, ending=".png"))
    run(place, *root_option)
    printed = capsys.readouterr().out
    config = yaml.safe_load(printed[printed.index("\nModel:") :])
    run(place, *root_option, "--json")
    assert json.loads(capsys.readouterr().out)["config"] == config
    assert config["Model"] == {"class_num": 6}
    described = config["DataLoader"]["Train"]["dataset"]
    name = described.pop("name")
    dataset = Component(name, described, "dataset").build(DATASETS)
    labels = [
        dataset.get(index, np.random.default_rng(0))["labels"] for index in range(len(dataset))
    ]
    assert labels == [person for person in range(6) for _ in range(person + 1)]


def test_classes_without_images_are_counted(people, tmp_path, capsys):
    (people / "list.txt").write_text(lists_of(people)["gap"])
    run(people / "list.txt", "--json")
    report = json.loads(capsys.readouterr().out)
    assert (report["num_identities"], report["class_num"]) == (6, 11)
    assert report["num_classes_without_images"] == 5
    run(people / "list.txt")
    assert "classes below 11 without images: 5" in capsys.readouterr().out


@given(st.lists(st.integers(1, 12_000), min_size=1, max_size=30))
def test_every_identity_is_in_one_row_of_the_histogram(counts):
    rows = Identities(np.repeat(np.arange(len(counts)), counts), None).histogram()
    assert [number for *_, number in rows] == [
        sum(first <= count <= last for count in counts) for first, last, _ in rows
    ]
    assert sum(number for *_, number in rows) == len(counts)
    assert all(after[0] == before[1] + 1 for before, after in zip(rows, rows[1:], strict=False))
    assert rows[0][2] and rows[-1][2] and rows[-1][1] == max(counts)
    lines = histogram_text(rows).splitlines()
    bars = [line.count("#") for line in lines]
    assert max(bars) == 50 and all(
        bool(bar) == bool(row[2]) for bar, row in zip(bars, rows, strict=True)
    )


def test_ranges_grow_in_steps():
    labels = np.repeat(np.arange(4), [2, 7, 30, 999])
    assert Identities(labels, None).histogram() == [
        (2, 2, 1), (3, 4, 0), (5, 9, 1), (10, 19, 0), (20, 49, 1), (50, 99, 0), (100, 199, 0),
        (200, 499, 0), (500, 999, 1),
    ]  # fmt: skip


def test_a_picture(people, tmp_path):
    pytest.importorskip("matplotlib", reason="the picture is of the extra `plot`")
    assert run(people, "--plot", tmp_path / "a.png") == 0
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape == (750, 1350, 3)
    blue = (picture == (0xA8, 0x78, 0x48)).all(axis=2)
    columns = np.flatnonzero(blue.any(axis=0))
    assert (np.diff(columns) > 1).sum() == 5  # six bars, all of the same height
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "people"]


def test_a_picture_that_cannot_be_drawn_is_refused_at_once(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"a\.bmp: the picture's name must end in \.png, "):
        run("nowhere", "--plot", tmp_path / "a.bmp")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match="needs matplotlib: pip install matplotlib$"):
        run("nowhere", "--plot", tmp_path / "a.png")


def test_a_set_without_any_class_is_refused(tmp_path, people):
    (people / "l.txt").write_text("p0/0.jpg\tx\n")
    with pytest.raises(UserError, match="label"):
        run(people / "l.txt")
