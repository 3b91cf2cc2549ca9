"""The lists of a release: what is read, and what is said of lists that are wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.errors import UserError
from plsc.recognition.ijb.protocol import image_stamps, read_pairs, read_release


def edit(path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def one_of_each(people: dict[int, int], person_from: int, person_to: int) -> list[int]:
    first: dict[int, int] = {}
    for template, person in sorted(people.items()):
        first.setdefault(person, template)
    return [first[person] for person in range(person_from, person_to)]


def test_the_lists_are_read(release):
    found = read_release(release.root, "IJBC")
    assert found.faces.names == release.names
    assert found.faces.templates.tolist() == release.templates
    assert found.faces.media.tolist() == release.media
    np.testing.assert_allclose(found.faces.points, release.points, atol=1e-6)
    np.testing.assert_allclose(found.faces.detector_scores, release.scores, atol=1e-6)
    columns = (found.pairs.first, found.pairs.second, found.pairs.same)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == release.pairs
    assert found.images == release.root / "loose_crop"
    assert not found.searches.galleries and found.searches.probes is None
    stamps = image_stamps(found.images, found.faces)
    sizes = [(found.images / name).stat().st_size for name in release.names]
    assert stamps[:, 0].tolist() == sizes


@pytest.mark.parametrize("place", ["meta", "."])
def test_gallery_and_probes_are_read(release, place):
    galleries = {
        "G1": one_of_each(release.people, 0, 4), "G2": one_of_each(release.people, 4, 8)
    }  # fmt: skip
    probes = sorted(set(release.people) - {t for group in galleries.values() for t in group})
    release.write_search(release.root / place, galleries, probes)
    found = read_release(release.root, "IJBC").searches
    assert {group.name: group.templates.tolist() for group in found.galleries} == galleries
    assert found.probes is not None
    assert found.probes.templates.tolist() == probes
    assert found.probes.subjects.tolist() == [release.people[t] + 1000 for t in probes]


def test_windows_line_ends_tabs_and_blank_lines_at_the_end(release):
    meta = release.root / "meta"
    for path in meta.iterdir():
        text = path.read_text().replace(" ", "\t").replace("\n", "\r\n") + "\r\n\r\n"
        path.write_bytes(text.encode())
    found = read_release(release.root, "IJBC")
    assert found.faces.names == release.names
    assert len(found.pairs.first) == len(release.pairs)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meta/ijbc_face_tid_mid.txt", r"ijbc_face_tid_mid.txt: is missing; --image-path must be"),
        ("meta/ijbc_name_5pts_score.txt", r"ijbc_name_5pts_score.txt: is missing"),
        ("meta/ijbc_template_pair_label.txt", r"template_pair_label.txt: is missing"),
    ],
)
def test_a_missing_list_is_named(release, name, message):
    (release.root / name).unlink()
    with pytest.raises(UserError, match=message):
        read_release(release.root, "IJBC")


def test_missing_folders_are_named(release):
    with pytest.raises(UserError, match="--image-path: .* is not a folder"):
        read_release(release.root / "nowhere", "IJBC")
    with pytest.raises(UserError, match="is this IJBC\\? give --target IJBC"):
        read_release(release.root, "IJBB")
    (release.root / "loose_crop").rename(release.root / "crops")
    with pytest.raises(UserError, match="loose_crop: is missing; --image-path must be"):
        read_release(release.root, "IJBC")


def test_missing_images_are_named(release):
    found = read_release(release.root, "IJBC")
    for number in (3, 17):
        (release.root / "loose_crop" / f"{number}.png").unlink()
    message = r"2 of 48 images are missing, the first is '3.png' \(.*_5pts_score.txt:3\)"
    with pytest.raises(UserError, match=message):
        image_stamps(found.images, found.faces)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("face_tid_mid", "3.png", "7.png", r"score.txt:3: is '3.png', but .*mid.txt has '7.png'"),
        ("face_tid_mid", "\n3.png", "\n", r"mid.txt:3: must be image, template and medium, 3 f"),
        ("face_tid_mid", "\n3.png ", "\n3.png x", r"mid.txt:3: must be image, template"),
        ("face_tid_mid", "\n3.png ", "\n\n3.png ", r"mid.txt:3: must be .*, got ''"),
        ("name_5pts_score", "\n5.png ", "\n5.png 1 ", r"score.txt:5: must be image, x and y .* 12"),
        ("name_5pts_score", "\n5.png ", "\n5.png x", r"score.txt:5: must be image, x and y"),
        ("template_pair_label", "\n", "\nabc def 1\n", r"label.txt:2: must be two .*'abc def 1'"),
        ("template_pair_label", "\n", "\n\n100 97\n", r"label.txt:3: must be two templates"),
        ("template_pair_label", "\n", "\n100 97 2\n", r"label.txt:2: must be two templates"),
        ("template_pair_label", "\n", "\n100 97 1 1\n", r"label.txt:2: must be two templates"),
        ("template_pair_label", "\n", "\n100 97.5 1\n", r"label.txt:2: must be two templates"),
        ("template_pair_label", "\n", "\n100 99999999999 1\n", r"label.txt:2: must be two templ"),
        ("template_pair_label", "\n", "\n100 31 1\n", r"label.txt: template 31 \(entry 2\) has no"),
    ],
)
def test_a_wrong_line_is_named(release, name, old, new, message):
    edit(release.root / "meta" / f"ijbc_{name}.txt", old, new)
    with pytest.raises(UserError, match=message) as caught:
        read_release(release.root, "IJBC")
    assert "\n" not in str(caught.value)


def test_a_list_that_ends_early_is_found(release):
    path = release.root / "meta" / "ijbc_name_5pts_score.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(UserError, match=r"mid.txt has 48 faces, but .*score.txt has 46"):
        read_release(release.root, "IJBC")


@pytest.mark.parametrize("name", ["face_tid_mid", "name_5pts_score", "template_pair_label"])
@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_list_is_named(release, name, content):
    (release.root / "meta" / f"ijbc_{name}.txt").write_text(content)
    with pytest.raises(UserError, match=f"^[^ ]*{name}.txt: is empty, must hold lines of"):
        read_release(release.root, "IJBC")


@pytest.mark.parametrize(("old", "new"), [("1\n", "0\n"), ("0\n", "1\n")])
def test_pairs_of_one_kind_are_refused_before_the_work(release, old, new):
    path = release.root / "meta" / "ijbc_template_pair_label.txt"
    path.write_text(path.read_text().replace(" " + old, " " + new))
    with pytest.raises(UserError, match=r"label.txt: must have pairs of both kinds, got"):
        read_release(release.root, "IJBC")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_named(release, number):
    release.points[6][2, 1] = float(number)
    release.write()
    with pytest.raises(UserError, match=r"score.txt:7: has numbers that are not finite"):
        read_release(release.root, "IJBC")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("TEMPLATE_ID", "TEMPLATE", r"G1.csv:1: must name the columns TEMPLATE_ID and SUBJECT_ID"),
        (",1000,", ",abc,", r"G1.csv:2: template and subject must be whole numbers"),
        (",1000,", ",1009,", r"G1.csv:3: template \d+ is of subject 1000, above it was of 1009"),
        ("\n100,", "\n5,", r"G1.csv: template 5 \(entry 1\) has no faces"),
    ],
)
def test_a_wrong_gallery_is_named(release, old, new, message):
    release.write_search(release.root / "meta", {"G1": [100, 94]}, [97])
    path = release.root / "meta" / "ijbc_1N_gallery_G1.csv"
    edit(path, old, new)
    with pytest.raises(UserError, match=message):
        read_release(release.root, "IJBC")


def test_a_gallery_of_others_is_named(release):
    release.write_search(release.root / "meta", {"G1": [100]}, [64])
    with pytest.raises(UserError, match="G1.csv: none of its 1 subjects is in ijbc_1N_probe_mixed"):
        read_release(release.root, "IJBC")


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 1)),
        min_size=1,
        max_size=30,
    ),
    blank=st.sampled_from([" ", "\t", "  "]),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_pairs_are_what_was_written(tmp_path_factory, rows, blank, end, last):
    path = tmp_path_factory.mktemp("pairs") / "pairs.txt"
    text = end.join(blank.join(map(str, row)) for row in rows) + (end if last else "")
    path.write_bytes(text.encode())
    pairs = read_pairs(path)
    assert pairs.first.tolist() == [row[0] for row in rows]
    assert pairs.second.tolist() == [row[1] for row in rows]
    assert pairs.same.tolist() == [bool(row[2]) for row in rows]
