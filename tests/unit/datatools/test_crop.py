import io
import os

import cv2
import numpy as np
import pytest
from PIL import Image
from places import files_below
from refusals import refused

from plsc.data.lists.landmark_list import LandmarkList
from plsc.data.transforms.align import align, template
from plsc.datatools.crop import CropFormat, crop_names, write_crops
from plsc.datatools.drawn_face.render import Identity, View, render_face
from plsc.errors import UserError


def listed(folder, paths, points):
    lines = list(range(2, len(paths) + 2))
    return LandmarkList(folder / "faces.csv", paths, np.array(points, float), lines)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Photos of 40 faces (more than a worker's share at a time) in folders of four."""
    folder = tmp_path_factory.mktemp("photos")
    paths, points = [], []
    for number in range(40):
        person = number // 4
        image, landmarks, _ = render_face(
            Identity.sample(1, person), View.sample(1, person, number), size=150
        )
        path = folder / f"person{person}" / f"{number}.{['png', 'JPG', 'bmp'][number % 3]}"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image[..., ::-1])
        paths.append(str(path.relative_to(folder)))
        points.append(landmarks)
    return listed(folder, paths, points)


def write(faces, output, *, crops=None, workers=1, skip=False, **options):
    root = options.pop("image_root", str(faces.file.parent))
    crops = crops or CropFormat(format="png")
    return write_crops(faces, output, image_root=root, crops=crops, workers=workers, skip=skip)


def test_each_face_has_its_crop_at_its_path(faces, tmp_path):
    report = write(faces, tmp_path / "out")
    assert report.rows == list(range(40)) and not report.skipped
    assert len(report.misfits) == 40 and (report.misfits < 8).all()
    found = files_below(tmp_path / "out")
    assert list(found) == sorted(report.names)
    for path, name, points in zip(faces.paths, report.names, faces.points, strict=True):
        assert name == os.path.splitext(path)[0] + ".png"
        photo = np.asarray(Image.open(faces.file.parent / path).convert("RGB"))
        if path.endswith("JPG"):
            photo = cv2.imread(str(faces.file.parent / path))[..., ::-1]
        crop = np.asarray(Image.open(io.BytesIO(found[name])))
        assert np.array_equal(crop, align(np.ascontiguousarray(photo), points))


@pytest.mark.parametrize("crops", [CropFormat(), CropFormat(size=64, format="png")])
def test_the_files_are_the_same_for_any_number_of_workers(faces, tmp_path, crops):
    first = write(faces, tmp_path / "one", crops=crops)
    second = write(faces, tmp_path / "two", crops=crops, workers=2)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two") != {}
    assert first.names == second.names and np.array_equal(first.misfits, second.misfits)


def test_format_size_and_quality(faces, tmp_path):
    sizes = {}
    for quality in (30, 95):
        write(faces, tmp_path / f"q{quality}", crops=CropFormat(size=96, quality=quality))
        found = files_below(tmp_path / f"q{quality}")
        assert all(name.endswith(".jpg") for name in found)
        for content in found.values():
            image = Image.open(io.BytesIO(content))
            assert image.format == "JPEG" and image.size == (96, 96)
        sizes[quality] = sum(map(len, found.values()))
    assert sizes[30] < 0.6 * sizes[95]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be a whole number at least 8 and at most 4096, got 0"),
        ({"quality": 101}, "quality must be a whole number at least 1 and at most 100, got 101"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        CropFormat(**options)


def damaged(faces, tmp_path):
    """A list with one sound face, and five that cannot be used."""
    photo = (faces.file.parent / faces.paths[0]).read_bytes()
    for name, content in {
        "good.png": photo, "cut.png": photo[:2000], "text.png": b"hello", "empty.png": b"",
        "points.png": photo,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    names = ["cut.png", "good.png", "text.png", "empty.png", "gone.png", "folder", "points.png"]
    points = np.repeat(faces.points[:1], len(names), axis=0)
    points[-1] = np.nan
    return listed(tmp_path, names, points)


REASONS = {
    0: "cut.png: the PNG is cut short",
    2: "text.png: cannot be decoded",
    3: "empty.png: the image is empty",
    4: "gone.png: cannot be read: No such file",
    5: "folder: cannot be read: Is a directory",
    6: "points.png: landmarks must be finite",
}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_used_is_skipped_counted_and_named(faces, tmp_path, workers):
    bad = damaged(faces, tmp_path)
    report = write(bad, tmp_path / "out", skip=True, workers=workers)
    assert report.rows == [1] and report.names == ["good.png"] and len(report.misfits) == 1
    assert list(report.skipped) == list(REASONS)
    for row, reason in REASONS.items():
        assert report.skipped[row].startswith(f"{bad.file}:{row + 2}: {reason}")
    assert list(files_below(tmp_path / "out")) == ["good.png"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("row", REASONS)
def test_or_ends_all_in_one_line_and_leaves_nothing(faces, tmp_path, row, workers):
    bad = damaged(faces, tmp_path)
    bad = listed(tmp_path, [bad.paths[1], bad.paths[row]], bad.points[[1, row]])
    before = set(tmp_path.iterdir())
    text = refused(lambda: write(bad, tmp_path / "out", workers=workers))
    assert text.startswith(f"{bad.file}:3: {REASONS[row]}")
    assert set(tmp_path.iterdir()) == before


def test_none_left(faces, tmp_path):
    nowhere = listed(tmp_path, ["a.jpg", "b.jpg"], faces.points[:2])
    with pytest.raises(UserError, match=r"none of the 2 faces can be used; first: .*csv:2: a\.jpg"):
        write(nowhere, tmp_path / "out", skip=True)
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays(faces, tmp_path):
    (tmp_path / "mine").write_text("here")
    with pytest.raises(UserError, match="is not an empty folder"):
        write(faces, tmp_path)
    assert files_below(tmp_path) == {"mine": b"here"}


def test_a_root_that_is_none(faces, tmp_path):
    with pytest.raises(UserError, match="image_root: .*nowhere is not a folder"):
        write(faces, tmp_path / "out", image_root=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.png", "a/b.jpg"),
        ("a/b.JPEG", "a/b.jpg"),
        ("./a//b.bmp", "a/b.jpg"),
        ("a/n000001.0001", "a/n000001.0001.jpg"),
        ("a/b", "a/b.jpg"),
        ("..a/..b..png", "..a/..b..jpg"),
        ("/photos/a/b.png", "a/b.jpg"),
    ],
)
def test_names_of_crops(path, name):
    faces = LandmarkList(None, [path], template()[None], [1])
    assert crop_names(faces, "/photos", ".jpg") == [name]


@pytest.mark.parametrize(
    "path",
    ["../a.png", "a/../../b.png", "a/../b.png", "/elsewhere/a.png", "/photos2/a.png", ".", ""],
)
def test_paths_that_leave_the_root_are_refused(tmp_path, path):
    with pytest.raises(UserError, match=r"faces\.csv:2: path "):
        crop_names(listed(tmp_path, [path], [template()]), "/photos", ".jpg")


def test_the_root_of_all_admits_all():
    faces = LandmarkList(None, ["/a/b.png", "c.png"], np.stack([template()] * 2), [1, 2])
    assert crop_names(faces, "/", ".jpg") == ["a/b.jpg", "c.jpg"]


@pytest.mark.parametrize("again", ["a/b.png", "a//b.png", "a/b.jpg"])
def test_two_faces_for_one_crop_are_refused(tmp_path, again):
    with pytest.raises(
        UserError, match=r"faces\.csv:4: .*would be written to a/b\.png like line 2"
    ):
        crop_names(listed(tmp_path, ["a/b.png", "c.png", again], [template()] * 3), "x", ".png")


def test_photos_are_turned_as_their_orientation_says(faces, tmp_path):
    """Landmarks are those of the upright photo; the file holds it lying on its side."""
    path, points = faces.paths[1], faces.points[1]
    upright = Image.open(faces.file.parent / path)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "lying.jpg", quality=98, exif=exif)
    upright.save(tmp_path / "upright.jpg", quality=98)
    report = write(listed(tmp_path, ["lying.jpg", "upright.jpg"], [points] * 2), tmp_path / "out")
    lying, upright = (cv2.imread(str(tmp_path / "out" / name)).astype(int) for name in report.names)
    assert np.abs(lying - upright).mean() < 2
