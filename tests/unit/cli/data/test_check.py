"""Each fault planted by itself: that finding and no other; and none in a sound set."""

import cv2
import numpy as np
import pytest
from memory_source import MemorySource

from plsc.cli.data.check import check
from plsc.datatools.checks.findings import KINDS
from plsc.datatools.checks.image_sets import ImageSet

IDENTITIES, EACH = 4, 3


def picture(number, side=112):
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def encoded(pixels, ending=".png"):
    return cv2.imencode(ending, pixels)[1].tobytes()


SOUND = [(encoded(picture(number)), number // EACH) for number in range(IDENTITIES * EACH)]


def verification(images):
    return ImageSet("val.bin", len(images), lambda i: (images[i], -1), lambda i: f"val.bin: {i}")


def found(rows, val=(), known=True, num_workers=0, **options):
    findings = check(
        MemorySource(rows, known=known, num_classes=options.pop("own_class_num", None)),
        [verification(val)] if val else [],
        path="memory",
        num_workers=num_workers,
        **options,
    )
    places = {
        kind.name: [place.text() for place in findings.places[kind]] for kind in findings.counts
    }
    assert findings.fit == (not any(kind.severity == "fault" for kind in findings.counts))
    return places, {kind.name: count for kind, count in findings.counts.items()}


def with_row(index, image=..., label=...):
    rows = list(SOUND)
    old = rows[index]
    rows[index] = (old[0] if image is ... else image, old[1] if label is ... else label)
    return rows


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_sound_set_has_no_findings(known, num_workers):
    others = [encoded(picture(100 + number)) for number in range(4)]
    result = found(SOUND, [*others, *others], known, num_workers, class_num=IDENTITIES)
    assert result == ({}, {})
    assert found(SOUND, own_class_num=IDENTITIES) == ({}, {})


JPEG = encoded(picture(3), ".jpg")
PLANTED = {
    "cut short": (with_row(4, JPEG[:-60]), {}, "unreadable", ["memory: 4: the JPEG is cut short"]),
    "no image": (with_row(4, b"no image"), {}, "unreadable", ["memory: 4: cannot be decoded"]),
    "empty": (with_row(4, b""), {}, "unreadable", ["memory: 4: the image is empty"]),
    "gone": (with_row(4, None), {}, "unreadable", ["memory: 4: is gone"]),
    "small": (
        with_row(7, encoded(picture(0, 100)[:90])),
        {},
        "wrong_size",
        ["memory: 7: 100x90 (width x height)"],
    ),
    "grey": (
        with_row(7, encoded(np.full((112, 112, 3), (3, 2, 1), np.uint8))),
        {},
        "blank",
        ["memory: 7: all pixels are [1, 2, 3]"],
    ),
    "gap": (
        [(image, label + (label > 1)) for image, label in SOUND],
        {},
        "missing_labels",
        ["class 2"],
    ),
    "does not begin at 0": (
        [(image, label + 1) for image, label in SOUND],
        {},
        "missing_labels",
        ["class 0"],
    ),
    "fewer than counted": (SOUND, {"own_class_num": 6}, "missing_labels", ["classes 4 to 5"]),
    "beyond": (
        SOUND,
        {"class_num": 3},
        "label_beyond_class_num",
        ["memory: 9: class 3", "memory: 10: class 3", "memory: 11: class 3"],
    ),
    "class_num too large": (SOUND, {"class_num": 7}, "unused_classes", ["classes 4 to 6"]),
    "alone": (SOUND[:-2], {}, "single_image", ["memory: 9: class 3"]),
    "twice in one": (
        with_row(5, SOUND[3][0]),
        {},
        "duplicate_in_identity",
        ["memory: 3 = memory: 5: class 1"],
    ),
    "in two": (
        with_row(8, SOUND[0][0]),
        {},
        "duplicate_across_identities",
        ["memory: 0 = memory: 8: classes 0, 2"],
    ),
    "in two, stored in two ways": (
        with_row(8, encoded(picture(0), ".bmp")),
        {},
        "duplicate_across_identities",
        ["memory: 0 = memory: 8: classes 0, 2"],
    ),
    "leak": (
        SOUND,
        {"val": [encoded(picture(100)), SOUND[6][0]]},
        "leak",
        ["memory: 6 = val.bin: 1"],
    ),
    "bad verification image": (
        SOUND,
        {"val": [encoded(picture(100)), b"?"]},
        "unreadable",
        ["val.bin: 1: cannot be decoded"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("known", [True, False])
def test_a_planted_fault_is_found_and_nothing_else(planted, known):
    rows, options, kind, expected = PLANTED[planted]
    places, counts = found(rows, known=known, **options)
    assert list(places) == [kind]
    assert len(places[kind]) == len(expected)
    for place, beginning in zip(places[kind], expected, strict=True):
        assert place.startswith(beginning)
    numbers = 2 if "classes 4 to 5" in expected else 3 if "classes 4 to 6" in expected else None
    assert counts == {kind: numbers or len(expected)}


def test_every_kind_is_planted_once():
    assert {planted[2] for planted in PLANTED.values()} == {kind.name for kind in KINDS}


def test_the_result_does_not_depend_on_the_processes():
    rows = [row for number in range(150) for row in (SOUND if number else [(None, 0), *SOUND])]
    results = [found(rows, num_workers=workers) for workers in (0, 2)]
    assert results[0] == results[1]
    places, counts = results[0]
    assert counts == {"unreadable": 1, "duplicate_in_identity": 12}
    assert places["duplicate_in_identity"][0] == (
        "memory: 1 = memory: 13 = memory: 25 and 147 more: class 0"
    )


def test_findings_list_faults_first_and_all_places_in_json():
    rows = [*SOUND[:-2], *[(None, 0)] * 30]
    findings = check(MemorySource(rows), path="memory")
    faults, warnings = findings.as_json()
    assert (faults["kind"], faults["severity"], faults["count"]) == ("unreadable", "fault", 30)
    assert faults["places"][29]["images"] == [{"set": "memory", "index": 39, "where": "memory: 39"}]
    assert warnings["kind"] == "single_image" and not findings.fit
    text = findings.as_text()
    assert "memory: 29: is gone" in text and "memory: 30: is gone" not in text
    assert "others" in text and text.endswith("not fit to train on: 1 kinds of fault, 1 of warning")


def test_enormous_labels_take_no_memory():
    places, counts = found(with_row(0, label=10**17))
    assert counts == {"missing_labels": 10**17 - IDENTITIES, "single_image": 1}
    assert places["missing_labels"] == [f"classes 4 to {10**17 - 1}"]
