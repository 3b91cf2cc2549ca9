import numpy as np
import pytest

from plsc.data.sets.base import BadImage
from plsc.data.sets.listed import ListedImages
from plsc.errors import UserError


@pytest.fixture
def root(tmp_path):
    """A folder with the files a/0 to a/4, each of which holds its name."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    for number in range(5):
        (tmp_path / "images" / "a" / str(number)).write_text(f"a/{number}")
    return tmp_path / "images"


def listed(root, text, **parameters):
    path = root.parent / "list.txt"
    path.write_bytes(text.encode())
    return ListedImages(root, path, **parameters)


@pytest.mark.parametrize(
    ("line", "parameters"),
    [
        ("%s\t%d\n", {}),
        ("%s,%d\n", {"delimiter": ","}),
        ("%s 0 %d 0\n", {"layout": "magface"}),
    ],
)
def test_images_and_classes(root, line, parameters):
    names = [f"a/{number}" for number in range(4)] + [f"{root}/a/4"]
    labels = [3, 0, 16777217, 7, 3]
    rows = zip(names, labels, strict=True)
    source = listed(root, "".join(line % row for row in rows), **parameters)
    assert len(source) == 5
    assert np.array_equal(source.labels, labels)
    assert source.num_classes == 16777218
    for index, (name, label) in enumerate(zip(names, labels, strict=True)):
        assert source.read(index) == (f"a/{index}".encode(), label)
        assert source.name(index) == name
        path = f"{root}/a/{index}"
        assert source.where(index) == f"{path} ({root.parent}/list.txt:{index + 1})"


def test_a_missing_image_is_named_when_it_is_read(root):
    source = listed(root, "".join(f"a/{number}\t0\n" for number in (0, 1, 2, 9)))
    with pytest.raises(BadImage, match=r"images/a/9 \(.*list\.txt:4\): cannot be read: No such"):
        source.read(3)


def test_messages_stay_in_one_line(root):
    source = listed(root, "".join(f"a/{number}\t0\n" for number in (0, 1, 2, "\r\v9")))
    assert source.name(3) == "a/\r\v9"
    with pytest.raises(BadImage, match=r"images/a/\\r\\x0b9' \(.*list\.txt:4\): cannot be read"):
        source.read(3)


def test_a_wrong_root_shows_at_once(root):
    with pytest.raises(UserError, match=r"b/0: no such file, .*list\.txt lists it: is image_root"):
        listed(root, "a/0\t0\nb/0\t1\n")
    with pytest.raises(UserError, match=r"absent is not a folder"):
        ListedImages(root / "absent", root.parent / "list.txt")


def test_a_path_that_leaves_the_root_is_refused_before_any_file_is_looked_at(root):
    (root.parent / "outside").write_text("x")
    for path in ("../outside", f"{root.parent}/outside"):
        with pytest.raises(UserError, match=r"list\.txt:2: path .*outside' .*image_root"):
            listed(root, f"a/0\t0\n{path}\t1\n")
    absolute = root.parent / "absolute.txt"
    absolute.write_text(f"{root.parent}/outside\t1\n")
    assert ListedImages("/", absolute).read(0) == (b"x", 1)


def test_no_more_than_the_first_files_are_looked_at(root, monkeypatch):
    looked = []
    monkeypatch.setattr("os.path.isfile", lambda path: looked.append(path) or True)
    listed(root, "".join(f"b/{number}\t0\n" for number in range(1000)))
    assert looked == [f"{root}/b/{number}" for number in range(3)]
