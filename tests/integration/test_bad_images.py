"""Images that cannot be read: one line that names the place, or skipped, counted and listed."""

import re
from pathlib import Path

import pytest

from plsc.data.records.recordio import RecordWriter

NUM_IMAGES, BAD = 22, {4: "junk", 9: "empty", 10: "cut short"}


def spoilt(content, fault):
    return {"junk": b"no image", "empty": b"", "cut short": content[:-40]}[fault]


@pytest.fixture
def listed(run):
    """A list of files, three of them bad; the place of each bad one."""
    given = run.config["DataLoader"]["Train"]["dataset"]
    folder, faces = run.folder / "faces", Path(given["image_root"])
    folder.mkdir()
    for row in range(NUM_IMAGES):
        content = (faces / f"{row}.png").read_bytes()
        (folder / f"{row}.png").write_bytes(spoilt(content, BAD[row]) if row in BAD else content)
    label_list = folder / "label.txt"
    label_list.write_text(Path(given["cls_label_path"]).read_text())
    given.update(image_root=str(folder), cls_label_path=str(label_list))
    return {row: f"{folder}/{row}.png ({label_list}:{row + 1}): " for row in BAD}


@pytest.fixture
def recorded(run):
    """The same as a record file."""
    given = run.config["DataLoader"]["Train"]["dataset"]
    faces, places = Path(given.pop("image_root")), {}
    lines = Path(given.pop("cls_label_path")).read_text().splitlines()
    with RecordWriter(run.folder / "train.rec") as records:
        for row, line in enumerate(lines):
            content = (faces / f"{row}.png").read_bytes()
            if row in BAD:
                content = spoilt(content, BAD[row])
            offset = records.write(row, content, labels=float(line.split("\t")[1]))
            places[row] = f"{run.folder}/train.rec: record {row}: byte {offset}: "
    given.update(name="FaceRecordDataset", root=str(run.folder / "train.rec"))
    return {row: places[row] for row in BAD}


@pytest.mark.parametrize(("places", "size"), [("listed", 1), ("recorded", 2)])
def test_skipped_images_are_counted_and_listed_at_the_end_of_each_epoch(run, request, places, size):
    places = request.getfixturevalue(places)
    skip = "DataLoader.Train.dataset.on_bad=skip"
    run("train", skip, "Global.epochs=2", "DataLoader.Train.loader.num_workers=2", size=size)
    log = (run.output / "train.log").read_text()
    found = re.findall(r"\[Train\]\[Epoch (\d)\] skipped (\d+) of 22 images, (\d) of them", log)
    assert [(epoch, count) for epoch, count, _ in found] == [("1", "3"), ("2", "3")]
    if size == 1:
        assert [own for *_, own in found] == ["3", "3"]
    assert f"all are listed in {run.output}/skipped-*-of-{size:05d}.txt" in log
    lists = sorted(run.output.glob("skipped-*"))
    assert {path.name for path in lists} <= {
        f"skipped-{rank:05d}-of-{size:05d}.txt" for rank in range(size)
    }
    lines = {line for path in lists for line in path.read_text().splitlines()}
    assert len(lines) == len(BAD)
    for row, place in places.items():
        (line,) = [line for line in lines if line.startswith(place)]
        reason = {"junk": "decoded", "cut short": "cut short"}.get(BAD[row], "no image|is empty")
        assert re.search(reason, line)
    assert len(run.losses()) == 2 * -(-NUM_IMAGES // (2 * size))


@pytest.mark.parametrize("places", ["listed", "recorded"])
def test_the_first_bad_image_ends_the_run_in_one_line(run, request, places):
    places = request.getfixturevalue(places)
    line = run.refused("train", "DataLoader.Train.loader.num_workers=2")
    assert line.startswith(tuple(places.values())), line
    assert not list(run.output.glob("skipped-*"))
