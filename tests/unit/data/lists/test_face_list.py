"""Lists of faces in the three layouts, and what is wrong with damaged ones."""

import numpy as np
import pytest
from refusals import refused

from plsc.data.lists.face_list import is_face_list, read_face_list

POINTS = "204 101 0 247 103 0 223 128 1 202 139 0 244 142 0 0.9"
NONE = " ".join(["-1"] * 15) + " 0.0"
LABELS = f"""# a/one.jpg
180 58 90 119 {POINTS}
12 30 0 9 {NONE}
# a/nobody.jpg
# b/no size.jpg
3 4 0 0 {NONE}

# b/two.jpg
1 2 3 4
5.5 6 7 8 {NONE}
"""
SPLIT = """a/one.jpg
1
180 58 90 119 0 0 0 0 0 0
a/nobody.jpg
0
0 0 0 0 0 0 0 0 0 0
b/two.jpg
2
1 2 3 4 0 0 0 0 0 0
5 6 7 8 1 0 0 0 0 0
"""


@pytest.fixture
def written(tmp_path):
    def write(text, name="label.txt"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_label_txt(written):
    found = read_face_list(written(LABELS))
    assert found.names == ["a/one.jpg", "a/nobody.jpg", "b/no size.jpg", "b/two.jpg"]
    assert found.lines.tolist() == [1, 4, 5, 8] and np.diff(found.starts).tolist() == [2, 0, 1, 2]
    np.testing.assert_array_equal(found.boxes(0)[0], [180, 58, 270, 177])
    expected = [[204, 101], [247, 103], [223, 128], [202, 139], [244, 142]]
    np.testing.assert_array_equal(found.points[0], expected)
    assert np.isnan(found.points[1:]).all()
    assert found.where(3).endswith("label.txt:8")


def test_what_is_trained_on(written):
    """Faces without a size are left out, and so are images that have no other."""
    found = read_face_list(written(LABELS)).to_train_on()
    assert found.names == ["a/one.jpg", "b/two.jpg"]
    assert found.starts.tolist() == [0, 1, 3] and found.lines.tolist() == [1, 8]
    np.testing.assert_array_equal(found.boxes(1), [[1, 2, 4, 6], [5.5, 6, 12.5, 14]])


def test_the_last_image_may_have_no_faces(written):
    text = f"# a.jpg\n1 2 3 4\n# b.jpg\n1 2 0 0 {NONE}\n# c.jpg\n"
    found = read_face_list(written(text)).to_train_on()
    assert found.names == ["a.jpg"] and found.starts.tolist() == [0, 1]


def test_the_official_text(written):
    found = read_face_list(written(SPLIT, "wider_face_train_bbx_gt.txt"))
    assert found.names == ["a/one.jpg", "a/nobody.jpg", "b/two.jpg"]
    assert np.diff(found.starts).tolist() == [1, 0, 2]
    np.testing.assert_array_equal(found.boxes(2)[1], [5, 6, 12, 14])
    assert np.isnan(found.points).all()


def test_the_official_mat(tmp_path):
    scipy = pytest.importorskip("scipy.io")
    events, files, boxes = (np.empty((2, 1), object) for _ in range(3))
    rows = [[np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.zeros((0, 4))], [np.array([[9, 9, 9, 9]])]]
    for index, (event, names) in enumerate([("0--Parade", ["x", "y"]), ("1--Fair", ["z"])]):
        events[index, 0] = event
        files[index, 0], boxes[index, 0] = (np.empty((len(names), 1), object) for _ in range(2))
        for row, name in enumerate(names):
            files[index, 0][row, 0] = name
            boxes[index, 0][row, 0] = rows[index][row].astype(np.int32)
    path = tmp_path / "wider_face_train.mat"
    content = {"event_list": events, "file_list": files, "face_bbx_list": boxes}
    scipy.savemat(path, content)
    found = read_face_list(path)
    assert found.names == ["0--Parade/x.jpg", "0--Parade/y.jpg", "1--Fair/z.jpg"]
    assert np.diff(found.starts).tolist() == [2, 0, 1] and found.where(0) == str(path)
    np.testing.assert_array_equal(found.boxes(0)[1], [5, 6, 12, 14])
    path.write_bytes(path.read_bytes()[:200])
    refused(lambda: read_face_list(path), path, "damaged")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# a.jpg\n1 2 3\n", ":2: 3 numbers"),
        ("# a.jpg\n1 2 3 4 5 6\n", ":2: 6 numbers"),
        ("# a.jpg\n1 2 3 x\n", ":2: not numbers: '1 2 3 x'"),
        ("# a.jpg\n1 2 nan 4\n", ":2: numbers that are not finite"),
        ("# a.jpg\n1 2 3 4\n#\n", ":3: names no image"),
        ("# ../a.jpg\n", ":1: path '../a.jpg' goes up"),
        ("a.jpg\nb.jpg\n", ":2: 'b.jpg' where the number of faces of the image in line 1"),
        ("a.jpg\n2\n1 2 3 4\n", "ends before the 2 faces of line 1"),
        ("a.jpg\n1\n1 2 3\n", ":3: 3 numbers"),
        ("", "lists no images"),
    ],
)
def test_damaged_lists(written, text, said):
    path = written(text)
    refused(lambda: read_face_list(path), path, said)


def test_how_a_list_is_known(written):
    assert is_face_list(written(LABELS))
    assert not is_face_list(written("0.png\t3\n", "other.txt"))
    refused(lambda: read_face_list(written(LABELS).with_name("none.txt")), "cannot be read")
