"""`plsc-data align` as users call it."""

import json

import cv2
import numpy as np
import pytest

from plsc.cli.data.main import main
from plsc.data.transforms.align import aligned_points, template
from plsc.datatools.drawn_face.render import Identity, View, render_face

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
HEADER = ["path", *(f"{point}_{axis}" for point in POINTS for axis in "xy")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six faces, turned and scaled, somewhere in larger photos; landmarks.csv lists them."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    lines = [",".join(HEADER)]
    for number in range(6):
        image, points, _ = render_face(
            Identity.sample(0, number), View.sample(0, number, 0), size=200
        )
        angle, scale = rng.uniform(-1, 1), rng.uniform(0.5, 1.2)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = rng.uniform(200, 300, 2) - turn @ [100, 100]
        matrix = np.column_stack([turn, shift])
        path = folder / "people" / f"p{number // 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = cv2.warpAffine(image[..., ::-1], matrix, (500, 500), borderValue=(90, 120, 60))
        cv2.imwrite(str(path), photo)
        placed = (points @ turn.T + shift).ravel()
        lines.append(
            ",".join([f"people/p{number // 2}/{number}.jpg", *map("{:.2f}".format, placed)])
        )
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")
    return folder


def call(*arguments):
    return main(["align", *map(str, arguments)])


def test_faces_are_cut_out(photos, tmp_path, capsys):
    output, sheet = tmp_path / "out", tmp_path / "pictures" / "sheet.png"
    sheet.parent.mkdir()
    status = call("--landmarks", photos / "landmarks.csv", "--output_dir", output, "--sheet", sheet)
    printed = capsys.readouterr()
    assert status == 0
    assert f"{output}: 6 crops of 112x112, 0 faces skipped\n" in printed.out
    names = sorted(str(path.relative_to(output)) for path in output.rglob("*.jpg"))
    assert names == [f"people/p{number // 2}/{number}.jpg" for number in range(6)]
    assert cv2.imread(str(output / names[0])).shape == (112, 112, 3)
    picture = cv2.imread(str(sheet))
    assert picture.shape == (2 * 172 + 4, 3 * 172 + 4, 3)
    assert list(sheet.parent.iterdir()) == [sheet]


def test_the_sheet_marks_template_and_landmarks(photos, tmp_path):
    sheet = tmp_path / "sheet.png"
    arguments = ["--landmarks", photos / "landmarks.csv", "--output_dir", tmp_path / "out"]
    assert call(*arguments, "--sheet", sheet, "--sheet_faces", 1, "--size", 224) == 0
    cell = cv2.imread(str(sheet))[4:172, 4:172].astype(int)
    numbers = (photos / "landmarks.csv").read_text().splitlines()[1].split(",")[1:]
    points = aligned_points(np.array(numbers, float).reshape(5, 2))
    for x, y in (points + 0.5) * 1.5 - 0.5:
        blue, green, red = cell[round(y), round(x)]
        assert red > 200 and blue < 100 and green < 100
    for x, y in (template() + 0.5) * 1.5 - 0.5:
        rows, columns = np.mgrid[0:168, 0:168]
        ring = cell[np.abs(np.hypot(columns - x, rows - y) - 5) < 1.5]
        green = (ring[:, 1] > ring[:, 0] + 60) & (ring[:, 1] > ring[:, 2] + 60)
        assert green.sum() >= 16  # the landmark's dot may cover a part


def test_json_is_all_there_is_on_standard_output(photos, tmp_path, capsys):
    text = (photos / "landmarks.csv").read_text().splitlines()
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join([*text[:3], text[3].replace("people", "persons"), *text[4:]]))
    arguments = ["--landmarks", listed, "--image_root", photos, "--output_dir", tmp_path / "out"]
    assert call(*arguments, "--on_bad", "skip", "--json", "--format", "png", "--size", 96) == 0
    report = json.loads(capsys.readouterr().out)
    reason = f"{listed}:4: persons/p1/2.jpg: cannot be read: No such file or directory"
    assert report == {
        "output_dir": str(tmp_path / "out"),
        "size": 96,
        "num_written": 5,
        "num_skipped": 1,
        "misfit_median": report["misfit_median"],
        "num_poor_fits": 0,
        "skipped": [{"line": 4, "path": "persons/p1/2.jpg", "reason": reason}],
    }
    assert 0.5 < report["misfit_median"] < 6
    assert call(*arguments, "--output_dir", tmp_path / "text", "--on_bad", "skip") == 0
    assert capsys.readouterr().out.endswith(f"skipped: {reason}\n")


def test_another_order_of_landmarks_is_noticed(photos, tmp_path, capsys):
    lines = [line.split(",") for line in (photos / "landmarks.csv").read_text().splitlines()]
    swapped = [[path, *x[2:4], *x[:2], *x[4:6], *x[8:], *x[6:8]] for path, *x in lines[1:]]
    listed = tmp_path / "swapped.txt"
    listed.write_text("\n".join(" ".join(fields) for fields in swapped))
    arguments = ["--landmarks", listed, "--image_root", photos]
    assert call(*arguments, "--output_dir", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "is their order left eye, right eye" in printed.err
    assert "as no face in profile: 6 faces" in printed.out
    call("--landmarks", photos / "landmarks.csv", "--output_dir", tmp_path / "sound")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", 0], "--num-workers must be at least 1, got 0"),
        (["--sheet", "sheet.jpg"], "--sheet must end in .png, got 'sheet.jpg'"),
        (["--sheet", "nowhere/sheet.png"], "nowhere/sheet.png: cannot be written: "),
        (["--sheet_faces", 0], "--sheet_faces must be at least 1, got 0"),
        (["--image_root", "nowhere"], "image_root: nowhere is not a folder"),
    ],
)
def test_mistakes_end_in_one_line(photos, tmp_path, capsys, arguments, message):
    sound = ["--landmarks", photos / "landmarks.csv", "--output_dir", tmp_path / "out"]
    assert call(*sound, *arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"plsc-data: error: {message}") and not printed.out
    assert not list(tmp_path.iterdir())
