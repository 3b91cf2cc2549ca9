import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plsc.data.lists import text_lines
from plsc.data.lists.label_list import LabelList, read_pairs
from plsc.errors import UserError


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(tmp_path, text, **parameters):
    found = LabelList(write(tmp_path / "label.txt", text), **parameters)
    assert len(found) == len(found.labels)
    return [(found.image_path(row), int(found.labels[row])) for row in range(len(found))]


PLSC = [
    ("a.jpg\t0\nb/c.jpg\t12\n", "\t", [("a.jpg", 0), ("b/c.jpg", 12)]),
    ("a.jpg\t0\nb.jpg\t12", "\t", [("a.jpg", 0), ("b.jpg", 12)]),
    ("a.jpg\t0\r\n\r\nb.jpg\t1\r\n\n", "\t", [("a.jpg", 0), ("b.jpg", 1)]),
    ("\n\na.jpg\t007\n", "\t", [("a.jpg", 7)]),
    ("a.jpg\t 3 \n \t \nb.jpg\t4    \r\n", "\t", [("a.jpg", 3), ("b.jpg", 4)]),
    ("my face.jpg 4\nb.jpg 5 \n", " ", [("my face.jpg", 4), ("b.jpg", 5)]),
    ("a\tb.jpg\t4\n", "\t", [("a\tb.jpg", 4)]),
    ("a.jpg, 4\nb.jpg,  5\n", ",", [("a.jpg", 4), ("b.jpg", 5)]),
    ("a.jpg,123456789012345678\n", ",", [("a.jpg", 123456789012345678)]),
    ("ж.jpg\t1\n", "\t", [("ж.jpg", 1)]),
    ("\ufeffa.jpg\t1\n", "\t", [("a.jpg", 1)]),
    ("a.jpg\t16777217\nb.jpg\t2147483647\n", "\t", [("a.jpg", 2**24 + 1), ("b.jpg", 2**31 - 1)]),
    ("a.jpg\t7\nb.jpg\t2147483648\n", "\t", [("a.jpg", 7), ("b.jpg", 2**31)]),
]


@pytest.mark.parametrize(("text", "delimiter", "rows"), PLSC)
def test_plsc_lists(tmp_path, text, delimiter, rows):
    assert rows_of(tmp_path, text, delimiter=delimiter) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a.jpg 0 5 0\nb/c.jpg 0 12 0\n", [("a.jpg", 5), ("b/c.jpg", 12)]),
        (
            "a.jpg 0 5 0\n\n \t\n  b.jpg\t0  7 0 \r\nc.jpg 0 8 0",
            [("a.jpg", 5), ("b.jpg", 7), ("c.jpg", 8)],
        ),
        ("\ufeffж.jpg 0 16777217 0\r\n", [("ж.jpg", 2**24 + 1)]),
        ("a.jpg x 5 y\n", [("a.jpg", 5)]),
    ],
)
def test_magface_lists(tmp_path, text, rows):
    assert rows_of(tmp_path, text, layout="magface") == rows


def test_labels_take_8_bytes_only_if_they_need_them(tmp_path):
    path = write(tmp_path / "label.txt", "a\t0\nb\t2147483647\n")
    assert LabelList(path).labels.dtype == np.int32
    write(path, "a\t0\nb\t2147483648\n")
    assert LabelList(path).labels.dtype == np.int64


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("b.jpg", r"no delimiter '\\t'"),
        ("12", r"no delimiter '\\t'"),
        ("b.jpg 1", r"no delimiter '\\t'.*seems to use another: set delimiter: \" \"\)$"),
        ("b.jpg,1", r"no delimiter '\\t'.*seems to use another: set delimiter: \",\"\)$"),
        ("b.jpg 0 7 0", r"no delimiter.*looks like a MagFace list: set list_format: magface\)$"),
        ("\t1", "no path"),
        ("b.jpg\t", "label '' is not a whole number"),
        ("b.jpg\tx", "label 'x' is not a whole number from 0 on"),
        ("b.jpg\t-1", "label '-1' is not a whole number"),
        ("b.jpg\t1.0", "label '1.0' is not"),
        ("b.jpg\t1_0", "label '1_0' is not"),
        ("b.jpg\t" + "9" * 19, "label '9999999999999999999' is not"),
        ("x" * 65536 + "\t1", "the path is longer than 65535 bytes"),
        ("../b.jpg\t1", r"path '\.\./b\.jpg' goes up by '\.\.'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    with pytest.raises(UserError, match=rf"label\.txt:3: {reason}") as caught:
        rows_of(tmp_path, f"a.jpg\t0\n\n{line}\nc.jpg\t1\n", image_root="/faces")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("b.jpg 0 7", r"3 fields; a MagFace line is `path 0 class 0`"),
        ("my b.jpg 0 7 0", r"5 fields; .*with no blank in the path"),
        ("b.jpg 0 x 0", "class 'x' is not a whole number"),
        ("b.jpg 0 -1 0", "class '-1' is not a whole number"),
        ("b.jpg\t1", r"2 fields.*looks like a PLSC list: set list_format: plsc\)$"),
        ("b.jpg,1", r"1 fields.*list_format: plsc and delimiter: \",\"\)$"),
    ],
)
def test_a_bad_magface_line_is_named(tmp_path, line, reason):
    with pytest.raises(UserError, match=rf"label\.txt:3: {reason}"):
        rows_of(tmp_path, f"a.jpg 0 0 0\n\n{line}\nc.jpg 0 1 0\n", layout="magface")


def test_magface_lines_of_five_and_three_fields_do_not_make_up_for_each_other(tmp_path):
    for lines in ("my a.jpg 0 7 0\nb.jpg 8 0\n", "a.jpg 0 7\nmy b.jpg 0 8 0\n"):
        with pytest.raises(UserError, match=r"label\.txt:2: [53] fields"):
            rows_of(tmp_path, "c.jpg 0 0 0\n" + lines, layout="magface")


@pytest.mark.parametrize("delimiter", ["\t", " "])
def test_a_magface_list_does_not_pass_for_a_list_with_one_class(tmp_path, delimiter):
    text = "a.jpg 0 5 0\n".replace(" ", delimiter)
    with pytest.raises(UserError, match=r"label\.txt:1: .*set list_format: magface"):
        rows_of(tmp_path, text, delimiter=delimiter)


def test_utf_16_is_named(tmp_path):
    for layout in ("plsc", "magface"):
        with pytest.raises(UserError, match=r"label\.txt:1: the file is UTF-16 text: save it as"):
            rows_of(tmp_path, "a.jpg\t0\n".encode("utf-16"), layout=layout)


def test_empty_lists_and_delimiters_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"label\.txt: the label list is empty"):
        rows_of(tmp_path, "")
    for text in ("\n\r\n", "\ufeff", " \t\n"):
        with pytest.raises(UserError, match=r"label\.txt: the label list has no lines"):
            rows_of(tmp_path, text)
    with pytest.raises(UserError, match=r"absent\.txt: the label list cannot be read"):
        LabelList(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="the label list cannot be read: Is a directory"):
        LabelList(tmp_path)
    for delimiter in ("", "ab", "\n", "é"):
        with pytest.raises(UserError, match="delimiter must be one ASCII character"):
            rows_of(tmp_path, "a.jpg\t1\n", delimiter=delimiter)


def test_a_list_that_is_no_text_is_refused(tmp_path):
    with open(tmp_path / "zeros", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"zeros: a line is longer than 65535 bytes near byte 0"):
        LabelList(tmp_path / "zeros")


def test_a_list_that_is_cut_short_while_in_use_ends_no_process(tmp_path):
    found = LabelList(write(tmp_path / "label.txt", "a.jpg\t0\n" * 5000))
    os.truncate(tmp_path / "label.txt", 8)
    assert found.image_path(0) == "a.jpg"
    for look in (found.image_path, found.where):
        with pytest.raises(UserError, match=r"label\.txt: the label list was cut short"):
            look(4999)


# Paths that may leave the root


@pytest.mark.parametrize(
    ("path", "root", "refused"),
    [
        ("a..b.jpg", "/faces", False),
        ("..a/b...jpg", "/faces", False),
        (".../b..", "/faces", False),
        ("./a/./b.jpg", "/faces", False),
        ("/faces/a.jpg", "/faces", False),
        ("/faces/a.jpg", "/faces/", False),
        ("/faces/./a.jpg", "/faces//x/..", False),
        ("//a.jpg", "/", False),
        ("/anything/a.jpg", "/", False),
        ("/anything/../a.jpg", "/", True),
        ("/database/a.jpg", "/faces", True),
        ("/faces2/a.jpg", "/faces", True),
        ("/etc/passwd", "/faces", True),
        ("/etc/passwd", "relative", True),
        ("..", "/faces", True),
        ("../a.jpg", "/faces", True),
        ("a/..", "/faces", True),
        ("a/../b.jpg", "/faces", True),
        ("/faces/../etc/passwd", "/faces", True),
    ],
)
def test_paths_stay_below_the_root(tmp_path, path, root, refused):
    lists = [
        (f"a/b.jpg\t0\n\n{path}\t1\n", 3, {}),
        (f"{path}\t1\na/b.jpg\t0\n", 1, {}),
        (f"/faces/ok.jpg\t0\n{path}\t1", 2, {}) if root == "/faces" else (f"{path}\t1", 1, {}),
        (f"a/b.jpg 0 0 0\n {path} 0 1 0\n", 2, {"layout": "magface"}),
    ]
    for text, line, parameters in lists:
        if refused:
            message = rf"label\.txt:{line}: path '{re.escape(path)}' .* image_root '{root}'"
            with pytest.raises(UserError, match=message):
                rows_of(tmp_path, text, image_root=root, **parameters)
        else:
            assert (path, 1) in rows_of(tmp_path, text, image_root=root, **parameters)
    assert (path, 1) in rows_of(tmp_path, lists[0][0])
    pairs = write(tmp_path / "pairs.txt", f"a\tb\t1\na\t{path}\t0\n")
    if refused:
        with pytest.raises(UserError, match=rf"pairs\.txt:2: path '{re.escape(path)}'"):
            read_pairs(pairs, image_root=root)
    assert read_pairs(pairs, image_root=None if refused else root)[0][1] == ("a", path)


# Against a plain parser


def plain(data, layout, delimiter):
    """Rows (path, label, line number), or the number of the first bad line."""
    rows = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        line = line.rstrip(b"\r ")
        if not line.strip():
            continue
        if layout == "plsc":
            path, _, label = line.rpartition(delimiter.encode())
            label, good = label.strip(), bool(path)
        else:
            fields = re.findall(rb"[^ \t\r]+", line)
            good = len(fields) == 4
            path, label = (fields[0], fields[2]) if good else (b"", b"")
        if not good or not re.fullmatch(rb"[0-9]{1,18}", label):
            return number
        parts = os.fsdecode(path).split("/")
        if ".." in parts or (parts[0] == "" and path[:6] != b"/tops/"):
            return number
        rows.append((os.fsdecode(path), int(label), number))
    return rows


def assert_equal_to_plain(path, data, layout, delimiter):
    expected = plain(data, layout, delimiter)
    path.write_bytes(data)
    try:
        found = LabelList(path, layout=layout, delimiter=delimiter, image_root="/tops")
    except UserError as error:
        match = re.match(rf"{re.escape(str(path))}:(\d+): ", str(error))
        if match and "looks like" not in str(error) and "UTF-16" not in str(error):
            # The first bad line of a block is named; a path that leaves the root is looked for
            # behind other mistakes in the block.
            assert expected != [] and isinstance(expected, int)
            assert plain(data.split(b"\n")[int(match[1]) - 1], layout, delimiter) == 1
        else:
            assert not expected or isinstance(expected, int) or "looks like" in str(error)
        return
    assert [
        (found.image_path(row), int(label), int(found.where(row).rpartition(":")[2]))
        for row, label in enumerate(found.labels)
    ] == expected


NAMES = st.one_of(
    st.sampled_from(["a.jpg", "/tops/a.jpg", "a..b", "жж/я.png", "x" * 90, "a b.jpg", "a\tb.jpg"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1, max_size=12),
)
LABELS = st.one_of(st.integers(0, 2**33), st.integers(0, 9))
ENDS = st.sampled_from(["\n", "\n", "\r\n", " \n", "\n\n", "\n \r\n"])
ROWS = st.lists(st.tuples(NAMES, LABELS, ENDS), min_size=1, max_size=25)


@pytest.mark.parametrize("block", [1, 16, 64, 1 << 20])
@given(rows=ROWS, marked=st.booleans(), final=st.booleans(), delimiter=st.sampled_from("\t ,"))
def test_plsc_lists_are_read_as_a_plain_parser_does(
    tmp_path, monkeypatch, block, rows, marked, final, delimiter
):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", block)
    text = "\ufeff" * marked + "".join(f"{name}{delimiter}{n}{end}" for name, n, end in rows)
    text = text if final else text.rstrip("\r\n ")
    assert_equal_to_plain(tmp_path / "list", text.encode(), "plsc", delimiter)


@pytest.mark.parametrize("block", [1, 16, 64, 1 << 20])
@given(rows=ROWS, blank=st.sampled_from([" ", "\t", "  "]), final=st.booleans())
def test_magface_lists_are_read_as_a_plain_parser_does(
    tmp_path, monkeypatch, block, rows, blank, final
):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", block)
    text = "".join(f"{name}{blank}0{blank}{n}{blank}0{end}" for name, n, end in rows)
    text = text if final else text.rstrip("\r\n ")
    assert_equal_to_plain(tmp_path / "list", text.encode(), "magface", " ")


PIECES = st.sampled_from(
    [b"a", b"0", b"7", b"/", b"..", b"\t", b" ", b"\r", b"\n", b"\n", b"\xff", b"\0"]
)


@given(
    data=st.one_of(
        st.binary(min_size=1, max_size=200),
        st.lists(PIECES, min_size=1, max_size=60).map(b"".join),
        st.tuples(st.integers(0, 59), st.binary(max_size=4)).map(
            lambda cut: (b"images/1.jpg\t3\n" * 4)[: cut[0]] + cut[1] + b"images/1.jpg\t3\n" * 4
        ),
    ),
    layout=st.sampled_from(["plsc", "magface"]),
    block=st.sampled_from([1, 5, 32]),
)
@example(data=b"a\r", layout="plsc", block=1)
def test_any_bytes_are_a_list_or_a_mistake(tmp_path, monkeypatch, data, layout, block):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", block)
    assert_equal_to_plain(tmp_path / "list", data, layout, "\t")
    try:
        pairs, issame = read_pairs(tmp_path / "list", image_root="/tops")
        assert len(pairs) == len(issame) > 0
    except UserError as error:
        assert "\n" not in str(error)


# Memory


OPEN = """
import sys
from plsc.data.lists.label_list import LabelList
def peak():  # not ru_maxrss, which begins with what the parent had
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0])
before = peak()
found = LabelList(sys.argv[1], layout=sys.argv[2], image_root="/faces")
after = peak()
assert sys.argv[1] not in open("/proc/self/maps").read()
print(len(found), found.image_path(len(found) - 1), (after - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize(("layout", "rest"), [("plsc", "\t%d\n"), ("magface", " 0 %d 0\n")])
def test_opening_takes_little_memory(tmp_path, layout, rest):
    lines = 1_500_000
    line = "/faces/images/%08d.jpg" + rest
    write(tmp_path / "list", "".join(line % (row, row // 20) for row in range(lines)))
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(tmp_path / "list"), layout],
        capture_output=True,
        text=True,
        check=True,
    )
    count, last, mebibytes = done.stdout.split()
    assert (int(count), last) == (lines, "/faces/images/01499999.jpg")
    assert float(mebibytes) < 30 + 12 * lines / 2**20  # with the text it would be 80


# Pairs

PLAIN = "a_0.png\ta_1.png\t1\nb_0.png\tb_1.png\t0\n"
MIRRORED = PLAIN.replace(".png", "_hflip.png")


@pytest.mark.parametrize(
    ("text", "num_pairs"),
    [
        (PLAIN + MIRRORED, 2),
        (PLAIN, 2),
        (PLAIN + PLAIN, 4),
        (MIRRORED, 2),
        (MIRRORED + PLAIN, 4),
        (PLAIN + MIRRORED.replace("b_1", "c_1"), 4),
        ("\ufeff" + PLAIN.replace("\n", " \r\n\n"), 2),
    ],
)
def test_mirrored_pairs_of_the_converter_are_left_out(tmp_path, text, num_pairs):
    pairs, issame = read_pairs(write(tmp_path / "pairs.txt", text))
    assert len(pairs) == len(issame) == num_pairs
    lines = [line.strip("\ufeff ").split("\t") for line in text.split("\n") if line.strip()]
    assert pairs == [(left, right) for left, right, _ in lines[:num_pairs]]
    assert list(issame) == [label.strip() == "1" for *_, label in lines[:num_pairs]]
    assert issame.dtype == bool


@pytest.mark.parametrize("line", ["a", "a\tb", "a\tb\t2", "a\tb\t", "a\tb\t01", "\tb\t1", "a\t\t1"])
def test_a_bad_pair_is_named(tmp_path, line):
    path = write(tmp_path / "pairs.txt", f"{PLAIN}{line}\n")
    with pytest.raises(UserError, match=r"pairs\.txt:3: must be two image paths and 0 or 1"):
        read_pairs(path)


def test_pairs_with_another_delimiter_are_named(tmp_path):
    path = write(tmp_path / "pairs.txt", "a.png b.png 1\n")
    with pytest.raises(UserError, match=r"pairs\.txt:1: .*another: set delimiter: \" \""):
        read_pairs(path)
    assert read_pairs(path, delimiter=" ")[0] == [("a.png", "b.png")]


def test_an_empty_pair_list_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"pairs\.txt: the pair list has no lines"):
        read_pairs(write(tmp_path / "pairs.txt", "\n"))
