import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.data.dataset.tools.render_synthetic_faces import main as render
from plsc.data.lists.landmark_list import read_landmarks
from plsc.errors import UserError

NUMBERS = [10.5, 20, 30.25, 20, 20, 30, 12, 40, 28, 41]
POINTS = np.array(NUMBERS).reshape(5, 2)
TEXT = [f"{number:g}" for number in NUMBERS]
EYES = "left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y"


def written(folder, text):
    file = folder / "list"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize("delimiter", [" ", "  ", "\t", ",", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize("extra", [[], ["0.998"], ["0.9", "text"]])
def test_lines_without_a_header(tmp_path, delimiter, end, extra):
    lines = ["", delimiter.join(["a/1.jpg", *TEXT, *extra]), "", delimiter.join(["b.png", *TEXT])]
    faces = read_landmarks(written(tmp_path, (end or "\n").join(lines) + end))
    assert faces.paths == ["a/1.jpg", "b.png"] and faces.lines == [2, 4]
    assert np.array_equal(faces.points, [POINTS, POINTS]) and faces.points.dtype == np.float64
    assert len(faces) == 2 and faces.where(1) == f"{tmp_path}/list:4"


HEADERS = {
    "rendered": f"path,person,{EYES},left_mouth_x,left_mouth_y,right_mouth_x,right_mouth_y",
    "mtcnn": f"file,x,{EYES},mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y",
    "kaggle": "image_id,x,lefteye_x,lefteye_y,righteye_x,righteye_y,nose_x,nose_y,"
    "leftmouth_x,leftmouth_y,rightmouth_x,rightmouth_y",
    "numbered": "Name,score,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5",
    "vggface2": "NAME_ID,score,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("delimiter", [",", "\t", " "])
def test_columns_by_their_names(tmp_path, header, delimiter):
    lines = [header, ",".join(["a.jpg", "7", *TEXT]), ",".join(["b.jpg", "8", *TEXT])]
    faces = read_landmarks(written(tmp_path, "\n".join(lines).replace(",", delimiter)))
    assert faces.paths == ["a.jpg", "b.jpg"] and np.array_equal(faces.points, [POINTS, POINTS])


def test_columns_in_any_order(tmp_path):
    header = "y5 x5 y4 x4 y3 x3 score path y2 x2 y1 x1"
    row = " ".join([*TEXT[:3:-1], "0.5", "a.jpg", *TEXT[3::-1]])
    faces = read_landmarks(written(tmp_path, f"s {header}\n0 {row}\n"))
    assert faces.paths == ["a.jpg"] and np.array_equal(faces.points, [POINTS])


def test_the_list_of_celeba(tmp_path):
    """A count, names without the path's, and columns padded with blanks."""
    header = HEADERS["kaggle"].removeprefix("image_id,x,").replace(",", " ")
    text = f"2\n{header} \n000001.jpg  " + "   ".join(TEXT) + "\n000002.jpg " + " ".join(TEXT)
    faces = read_landmarks(written(tmp_path, text))
    assert faces.paths == ["000001.jpg", "000002.jpg"] and faces.lines == [3, 4]
    assert np.array_equal(faces.points, [POINTS, POINTS])


def test_the_list_of_rendered_faces(tmp_path):
    size = ["--identities", "2", "--images_per_identity", "2", "--eval_identities", "0"]
    assert render(["--output_dir", str(tmp_path / "set"), *size, "--pairs", "0"]) == 0
    faces = read_landmarks(tmp_path / "set" / "landmarks.csv")
    assert faces.paths == [f"train/images/{number:08d}.jpg" for number in range(1, 5)]
    left, right, nose, *mouth = faces.points[0]
    assert left[0] < nose[0] < right[0] and max(left[1], right[1]) < nose[1] < mouth[0][1]


def test_paths_as_files_have_them(tmp_path):
    quoted = '"smith, anna/1 .jpg",' + ",".join(TEXT)
    assert read_landmarks(written(tmp_path, quoted)).paths == ["smith, anna/1 .jpg"]
    tabbed = "\t".join(["anna smith, 1.jpg", *TEXT])
    assert read_landmarks(written(tmp_path, tabbed)).paths == ["anna smith, 1.jpg"]
    blanks = " ".join(["a.jpg", *TEXT]) + "\n" + " ".join(["b,c.jpg", *TEXT])
    assert read_landmarks(written(tmp_path, blanks)).paths == ["a.jpg", "b,c.jpg"]
    latin = b"\xef\xbb\xbf" + b"\t".join([b"m\xfcller.jpg", *map(str.encode, TEXT)])
    (path,) = read_landmarks(written(tmp_path, latin)).paths
    assert path.encode(errors="surrogateescape") == b"m\xfcller.jpg"


GOOD = " ".join(["a.jpg", *TEXT])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list: the landmark list has no faces"),
        ("\n \n", "has no faces"),
        ("path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\n", "has no faces"),
        ("a.jpg 1 2 3 4 5 6 7 8 9", r"list:1: must be a path and ten numbers"),
        ("path,x1,y1,x2,y2\na.jpg,1,2,3,4", r"list:1: must be .* or a header"),
        (f"{GOOD}\n\nb.jpg 1 2 3", r"list:3: must have 11 columns or more, has 4"),
        (f"{GOOD}\nmy b.jpg {' '.join(TEXT)}", r"list:2: column 2 .* number, got 'b\.jpg' \(paths"),
        (f"{GOOD}\nb.jpg 1 2 3 4 5 6 7 8 9 ?", r"list:2: column 11 must be a number, got '\?'"),
        ("\x00\x01\x02", "list:1: must be"),
        (f"{GOOD}\n7\n", "list:2: must have 11 columns or more, has 1"),
        ("path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\na.jpg,1,2,3", r"list:2: must have 11 columns"),
    ],
)
def test_a_wrong_list_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_landmarks(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="nowhere: the landmark list cannot be read: No such file"):
        read_landmarks(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_landmarks(tmp_path)


pieces = st.sampled_from(
    [b"a.jpg", b"1", b"2.5", b" ", b"\t", b",", b"\n", b"\r\n", b'"', b"\x00", b"\xff", b"nan",
     b"x1,y1,x2,y2,x3,y3,x4,y4,x5,y5", GOOD.encode(), b"-1e999", b"\xef\xbb\xbf"]
)  # fmt: skip


@settings(max_examples=300)
@given(content=st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=40).map(b"".join)))
def test_any_bytes_are_a_list_or_refused(tmp_path_factory, content):
    file = written(tmp_path_factory.getbasetemp(), content)
    try:
        faces = read_landmarks(file)
    except UserError as error:
        assert str(error).startswith(str(file))
    else:
        assert faces.points.shape == (len(faces.paths), 5, 2) and len(faces.lines) == len(faces)
