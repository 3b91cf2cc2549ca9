"""A head's files: parts, links to what has not changed, and rows read from any split."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from safetensors.numpy import load_file

from plsc.checkpoint import sharded_files as head_files
from plsc.checkpoint.sharded_files import SavedRows, Unchanged, parts_of, tensors_of
from plsc.distributed.sharding import RowShard
from plsc.errors import UserError
from plsc.files import tensor_file
from plsc.files.rounding import round_nearest
from plsc.files.tensor_file import write_tensors

DIM = 3


def rows_of(num_classes, seed=0):
    return np.random.default_rng(seed).normal(size=(num_classes, DIM)).astype(np.float32)


class Stored:
    """Rows in a type of the head's."""

    def __init__(self, values, dtype):
        self.values, self.dtype = round_nearest(values, dtype), dtype
        self.shape = values.shape

    def __getitem__(self, rows):
        return self.values[rows]


def write_head(folder, tensors, *, ranks, part_rows, dtype="float32"):
    """What `ranks` ranks would write."""
    folder.mkdir(exist_ok=True)
    num_classes = len(next(iter(tensors.values())))
    for rank in range(ranks):
        shard = RowShard(num_classes, rank, ranks)
        own = {name: Stored(a[shard.start : shard.stop], dtype) for name, a in tensors.items()}
        for part in parts_of("head", shard.num_local, rank, ranks, part_rows=part_rows):
            write_tensors(folder / part.file, tensors_of(own, part))
    return SavedRows(folder, "head", num_classes, ranks, part_rows)


def joined(head, name, start, stop, dtype="float32"):
    found = []
    for first, rows in head.pieces(name, start, stop, dtype=dtype):
        assert first == start + sum(map(len, found))
        found.append(rows)
    return np.concatenate(found)


def test_names_and_classes_of_parts():
    assert [part.file for part in parts_of("head", 0, 0, 1, part_rows=4)] == [
        "head-00000-of-00001.safetensors"
    ]
    assert [part.file for part in parts_of("head", 4, 1, 2, part_rows=4)] == [
        "head-00001-of-00002.safetensors"
    ]
    parts = parts_of("head", 9, 1, 2, part_rows=4)
    assert [part.file for part in parts] == [
        f"head-00001-of-00002.part-0000{number}-of-00003.safetensors" for number in range(3)
    ]
    assert [(part.start, part.stop) for part in parts] == [(0, 4), (4, 8), (8, 9)]


def nearest(values, dtype):
    """By search among all positive numbers of the type; of two as near, the one with even bits."""
    bits = np.arange(0x7C00 if dtype == "float16" else 0x7F80, dtype=np.uint16)  # up to infinity
    known = bits.view(np.float16) if dtype == "float16" else widened(bits)
    known, sizes = known.astype(np.float64), np.abs(values.astype(np.float64))
    above = np.searchsorted(known, sizes).clip(1)
    below = above - 1
    to_below, to_above = sizes - known[below], known[above] - sizes
    lower = (to_below < to_above) | ((to_below == to_above) & (below % 2 == 0))
    return (np.sign(values) * known[np.where(lower, below, above)]).astype(np.float32)


def widened(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_of_any_split_in_any_type(tmp_path_factory, data):
    num_classes = data.draw(st.integers(1, 25), "classes")
    ranks = data.draw(st.integers(1, 3), "ranks")
    part_classes = data.draw(st.integers(1, 9), "part")
    start = data.draw(st.integers(0, num_classes - 1), "start")
    stop = data.draw(st.integers(start + 1, num_classes), "stop")
    saved_as = data.draw(st.sampled_from(["float32", "float16", "bfloat16"]), "saved as")
    read_as = data.draw(st.sampled_from(["float32", "float16", "bfloat16"]), "read as")
    tensors = {"weight": rows_of(num_classes), "velocity": rows_of(num_classes, seed=1)}
    folder = tmp_path_factory.mktemp("head")
    head = write_head(folder, tensors, ranks=ranks, part_rows=part_classes, dtype=saved_as)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_file, "PIECE_BYTES", data.draw(st.sampled_from([1, 24, 2**20])))
        for name, whole in tensors.items():
            expected = whole[start:stop]
            for dtype in (saved_as, read_as):
                if dtype != "float32":
                    expected = nearest(expected, dtype)
            rows = joined(head, name, start, stop, dtype=read_as)
            if read_as == "bfloat16":
                rows = widened(rows)
            np.testing.assert_array_equal(rows.astype(np.float32), expected)
    assert head.kind("weight") == (saved_as, DIM) and head.kind("moment9") is None


@pytest.fixture
def saved(tmp_path):
    """11 classes of 2 ranks in parts of 4."""
    tensors = {"weight": rows_of(11), "velocity": rows_of(11, seed=1)}
    return write_head(tmp_path / "head", tensors, ranks=2, part_rows=4)


def test_every_file_that_is_gone_or_damaged_is_named(saved):
    files = sorted(saved.folder.iterdir())
    assert len(files) == 4
    for path in files:
        content = path.read_bytes()
        for left in (None, 0, 40, len(content) - 1):
            path.unlink()
            if left is not None:
                path.write_bytes(content[:left])
            refused(lambda: joined(saved, "weight", 0, 11), path.name)
            path.write_bytes(content)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": rows_of(2)},
        {"weight": rows_of(4)},
        {"weight": np.ones((2, DIM + 1), np.float32), "velocity": rows_of(2)},
        {"weight": rows_of(2).astype(np.float16), "velocity": rows_of(2)},
        {"weight": np.ones(6, np.float32), "velocity": rows_of(2)},
    ],
)
def test_a_part_of_another_head_is_named(saved, tensors):
    path = saved.folder / "head-00000-of-00002.part-00001-of-00002.safetensors"
    write_tensors(path, tensors)
    with pytest.raises(UserError, match=path.name):
        joined(saved, "velocity", 0, 11), joined(saved, "weight", 0, 11)


def test_a_head_whose_rows_are_no_numbers(tmp_path):
    folder = tmp_path / "head"
    folder.mkdir()
    write_tensors(folder / "head-00000-of-00001.safetensors", {"weight": np.ones((4, 2), int)})
    with pytest.raises(UserError, match="int64"):
        SavedRows(folder, "head", 4, 1, 4).kind("weight")


HEAD = {"weight": rows_of(11), "velocity": rows_of(11, seed=1)}
PARTS = parts_of("head", 11, 0, 1, part_rows=4)  # 0-4, 4-8, 8-11


@pytest.fixture
def earlier(tmp_path):
    write_head(tmp_path / "earlier", HEAD, ranks=1, part_rows=4)
    (tmp_path / "new").mkdir()
    return tmp_path / "earlier"


def linked(earlier, changed, head=HEAD, parts=PARTS, zone=2):
    """Numbers of the parts that are linked, each of which must be the earlier file."""
    unchanged = Unchanged(earlier, np.array(changed, bool), zone)
    found = []
    for part in parts:
        made = earlier.parent / "new" / part.file
        if unchanged.link(made.parent, part, tensors_of(head, part)):
            assert made.samefile(earlier / part.file) and made.stat().st_nlink == 2
            found.append(part.number)
        else:
            assert not made.exists()
    return found


@pytest.mark.parametrize(
    ("changed", "numbers"),
    [
        ([0, 0, 0, 0, 0, 0], [0, 1, 2]),
        ([1, 0, 0, 0, 0, 0], [1, 2]),
        ([0, 1, 0, 0, 0, 0], [1, 2]),
        ([0, 0, 1, 0, 0, 0], [0, 2]),
        ([0, 0, 0, 0, 1, 0], [0, 1]),
        ([0, 0, 0, 0, 0, 1], [0, 1]),
        ([1, 1, 1, 1, 1, 1], []),
    ],
)
def test_parts_without_a_changed_zone_are_linked(earlier, changed, numbers):
    assert linked(earlier, changed) == numbers


def test_zones_that_parts_share(earlier):
    """Zones of 3: 0-3, 3-6, 6-9, 9-11; the second lies in two parts."""
    assert linked(earlier, [0, 1, 0, 0], zone=3) == [2]


def test_other_tensors_are_no_such_head(earlier):
    same = [0] * 6
    assert linked(earlier, same, {"weight": HEAD["weight"]}) == []
    assert linked(earlier, same, {**HEAD, "moment": HEAD["weight"]}) == []
    assert linked(earlier, same, {"weight": HEAD["weight"], "momentum": HEAD["velocity"]}) == []
    assert linked(earlier, same, {n: a.astype(np.float16) for n, a in HEAD.items()}) == []
    assert linked(earlier, same, {n: a[:, :2] for n, a in HEAD.items()}) == []
    assert linked(earlier, same, parts=parts_of("head", 11, 0, 1, part_rows=6), zone=2) == []
    assert linked(earlier, same, parts=parts_of("head", 11, 0, 2, part_rows=4)) == []


def test_earlier_files_that_are_not_whole(earlier):
    (earlier / PARTS[0].file).unlink()
    os.truncate(earlier / PARTS[1].file, (earlier / PARTS[1].file).stat().st_size - 1)
    assert linked(earlier, [0] * 6) == [2]


def test_where_there_are_no_links_all_is_written(earlier, monkeypatch):
    def link(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(head_files.os, "link", link)
    assert linked(earlier, [0] * 6) == []


def test_the_header_says_what_is_in_the_file(earlier):
    content = (earlier / PARTS[2].file).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header["weight"]["shape"] == [3, DIM] and length % 8 == 0
    np.testing.assert_array_equal(load_file(earlier / PARTS[2].file)["weight"], HEAD["weight"][8:])
