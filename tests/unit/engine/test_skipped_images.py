import os

import pytest
from logs import Log

from plsc.engine import skipped_images as skipped
from plsc.engine.progress import Progress
from plsc.engine.skipped_images import SkipReport


@pytest.fixture
def report(tmp_path):
    log = Log()
    made = SkipReport(log, tmp_path)
    made.lines = log.lines
    return made


def progress(**position):
    return Progress(epochs=5, num_images=100, steps_per_epoch=10, global_batch=10, **position)


def listed(folder):
    return {path.name: path.read_text().splitlines() for path in folder.iterdir()}


def test_nothing_is_said_and_written_where_nothing_was_skipped(report, tmp_path):
    report({}, progress(epoch=1))
    assert report.lines == [] and listed(tmp_path) == {}


def test_the_line_shows_some_and_the_list_all(report, tmp_path):
    reasons = {index: f"{index}.png: broken" for index in (30, 4, 2, 17, 5)}
    report(reasons, progress(epoch=2))
    assert report.lines == [
        "[Train][Epoch 2] skipped 5 of 100 images, 5 of them by rank 0: 2.png: broken; "
        "4.png: broken; 5.png: broken; and 2 more "
        f"(all are listed in {tmp_path}/skipped-*-of-00001.txt)"
    ]
    expected = [f"{index}.png: broken" for index in sorted(reasons)]
    assert listed(tmp_path) == {"skipped-00000-of-00001.txt": expected}


def test_the_list_grows_while_the_line_counts_the_epoch(report, tmp_path):
    report({7: "7.png: broken", 3: "3.png: broken"}, progress(epoch=1))
    report({3: "3.png: broken", 1: "1.png: broken"}, progress(epoch=2))
    report({}, progress(epoch=3))
    report({9: "9.png: broken"}, progress(epoch=3, consumed=20))  # stopped in the fourth
    starts = [line.split(" images")[0] for line in report.lines]
    assert starts == [
        "[Train][Epoch 1] skipped 2 of 100",
        "[Train][Epoch 2] skipped 2 of 100",
        "[Train][Epoch 4] skipped 1 of 100",
    ]
    (lines,) = listed(tmp_path).values()
    assert lines == [f"{index}.png: broken" for index in (1, 3, 7, 9)]


def test_an_image_that_two_ranks_met_counts_once(report, monkeypatch):
    theirs = [2, 8]
    monkeypatch.setattr(skipped, "gather_objects", lambda mine: [mine, mine[:0] + 0, theirs])
    report({2: "2.png: broken"}, progress(epoch=1))
    assert "skipped 2 of 100 images, 1 of them by rank 0: 2.png: broken (all" in report.lines[0]
    report({}, progress(epoch=2))  # the others' lists are theirs
    assert "skipped 2 of 100 images, 0 of them by rank 0 (all" in report.lines[1]


def test_names_that_are_no_text_are_kept_as_they_are(report, tmp_path):
    report({0: "caf\udce9.png: two\nlines"}, progress(epoch=1))
    assert "caf\udce9.png" in report.lines[0], "RunLog escapes it, see test_log.py"
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == b"caf\xe9.png: two lines\n"


def test_a_kill_leaves_the_list_of_before(report, tmp_path, monkeypatch):
    report({1: "1.png: broken"}, progress(epoch=1))
    before = listed(tmp_path)

    def fail(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        report({2: "2.png: broken"}, progress(epoch=2))
    kept = {name: lines for name, lines in listed(tmp_path).items() if name.endswith(".txt")}
    assert kept == before
