"""Checkpoints on disk: whole or absent, read back from any split, mistakes in one line."""

import json
import os
import stat
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from safetensors.numpy import load_file, save_file

from plsc.checkpoint import folder as checkpoint
from plsc.checkpoint import pointers, write_meter
from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.sharded_files import Unchanged
from plsc.distributed import joint_work, world
from plsc.distributed.sharding import RowShard
from plsc.distributed.world import World
from plsc.files import atomic, tensor_file

STATE = {
    "run": "a",
    "step": 3,
    "epoch": 1,
    "consumed": 4,
    "num_images": 8,
    "best_metric": None,
    "global_batch": 2,
    "scaler": {},
}
BACKBONE = {"conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "n": np.ones(1)}
OPTIMIZER = {"velocity/conv.weight": np.full((2, 3, 4), 0.25, np.float32)}


def rows_of(num_classes, dim=3, seed=0):
    return np.random.default_rng(seed).normal(size=(num_classes, dim)).astype(np.float32)


def write(root, name="epoch_1", *, num_classes=7, **changes):
    """A checkpoint by `save`, in a world of one."""
    arrays = {
        "network": BACKBONE,
        "optimizer": OPTIMIZER,
        "sharded": {
            "head": {"weight": rows_of(num_classes), "velocity": rows_of(num_classes, seed=1)}
        },
        "state": {**STATE, "num_classes": num_classes},
    }
    return checkpoint.save(root, name, **{**arrays, **changes})


def write_shards(folder, tensors, shards):
    """A checkpoint's head and state in the documented layout, by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    num_classes = len(tensors["weight"])
    for rank in range(shards):
        shard = RowShard(num_classes, rank, shards)
        save_file(
            {
                name: np.ascontiguousarray(a[shard.start : shard.stop])
                for name, a in tensors.items()
            },
            folder / f"head-{rank:05d}-of-{shards:05d}.safetensors",
        )
    state = {**STATE, "num_classes": num_classes, "head_shards": shards}
    (folder / "state.json").write_text(json.dumps(state))
    return Checkpoint(folder)


def head_rows(saved, name, start, stop, dtype="float32"):
    """Rows of a head, with the places of its pieces checked."""
    parts = []
    for first, rows in saved.rows("head", "num_classes").pieces(name, start, stop, dtype=dtype):
        assert first == start + sum(map(len, parts))
        parts.append(rows)
    return np.concatenate(parts)


def test_what_is_saved_is_read_back(tmp_path):
    path = write(tmp_path / "new" / "root", num_classes=7)
    assert path == tmp_path / "new" / "root" / "epoch_1"
    assert [item.name for item in path.parent.iterdir()] == ["epoch_1"]
    assert sorted(item.name for item in path.iterdir()) == [
        "backbone-optimizer.safetensors",
        "backbone.safetensors",
        "head-00000-of-00001.safetensors",
        "state.json",
    ]
    saved = Checkpoint(path)
    made = {"num_classes": 7, "head_shards": 1, "head_part_classes": 262_144}
    assert saved.state == {**STATE, **made}
    for read, given_ in ((saved.network(), BACKBONE), (saved.optimizer(), OPTIMIZER)):
        assert read.keys() == given_.keys()
        for name in given_:
            np.testing.assert_array_equal(read[name], given_[name])
            assert read[name].dtype == given_[name].dtype
    np.testing.assert_array_equal(head_rows(saved, "weight", 0, 7), rows_of(7))
    np.testing.assert_array_equal(head_rows(saved, "velocity", 2, 5), rows_of(7, seed=1)[2:5])
    assert (
        saved.rows("head", "num_classes").kind("weight") == ("float32", 3)
        and saved.rows("head", "num_classes").kind("moment9") is None
    )


def test_arrays_that_are_not_contiguous_keep_their_values(tmp_path):
    path = write(tmp_path, network={"w": BACKBONE["conv.weight"].T})
    np.testing.assert_array_equal(Checkpoint(path).network()["w"], BACKBONE["conv.weight"].T)


def test_a_rank_writes_its_own_file_only(tmp_path, monkeypatch):
    """As rank 1 of 2, with the collectives replaced: no backbone, no state, no rename."""
    monkeypatch.setattr(world, "current", lambda: World(rank=1, size=2))
    monkeypatch.setattr(joint_work, "agree", lambda flag: flag)
    monkeypatch.setattr(joint_work, "gather_objects", lambda item: [[], item])
    monkeypatch.setattr(checkpoint, "gather_objects", lambda item: [0, item])
    (tmp_path / ".epoch_1.partial").mkdir()  # by rank 0
    write(tmp_path, sharded={"head": {"weight": rows_of(3)}})
    assert [path.name for path in tmp_path.iterdir()] == [".epoch_1.partial"]
    (only,) = (tmp_path / ".epoch_1.partial").iterdir()
    assert only.name == "head-00001-of-00002.safetensors"
    np.testing.assert_array_equal(load_file(only)["weight"], rows_of(3))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_from_any_number_of_shards(tmp_path_factory, data):
    num_classes = data.draw(st.integers(3, 17), "classes")
    shards = data.draw(st.integers(1, 3), "shards")
    start = data.draw(st.integers(0, num_classes - 1), "start")
    stop = data.draw(st.integers(start + 1, num_classes), "stop")
    block = data.draw(st.sampled_from([1, 12, 24, 60, 2**20]), "block")
    tensors = {"weight": rows_of(num_classes), "velocity": rows_of(num_classes, seed=1)}
    saved = write_shards(tmp_path_factory.mktemp("shards"), tensors, shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_file, "PIECE_BYTES", block)  # 12 bytes a row
        for name, whole in tensors.items():
            rows = head_rows(saved, name, start, stop)
            assert rows.dtype == np.float32
            np.testing.assert_array_equal(rows, whole[start:stop])


@pytest.mark.parametrize(
    ("reason", "contents"),
    [
        ("is damaged", [b"", b"{", b"not json", b"\x00\x01", b"\xff\xfe{}"]),
        ("not a checkpoint of plsc", [b"[]", b"null", b"3", b'"text"', b"{}"]),
    ],
)
def test_damaged_or_foreign_state(tmp_path, reason, contents):
    path = write(tmp_path)
    for content in contents:
        (path / "state.json").write_bytes(content)
        refused(lambda: Checkpoint(path), path / "state.json", reason)


@pytest.mark.parametrize("key", checkpoint.REQUIRED)
def test_state_without_a_key_names_it(tmp_path, key):
    path = write(tmp_path)
    state = json.loads((path / "state.json").read_text())
    del state[key]
    (path / "state.json").write_text(json.dumps(state))
    refused(lambda: Checkpoint(path), path / "state.json", repr(key))


def test_no_checkpoint_there(tmp_path):
    refused(lambda: Checkpoint(tmp_path / "nowhere"), tmp_path / "nowhere", "does not exist")
    refused(lambda: Checkpoint(tmp_path), tmp_path, "not a checkpoint", "state.json")
    path = write(tmp_path / "root")
    (path / "state.json").unlink()
    refused(lambda: Checkpoint(path), "not a checkpoint")


READERS = {
    "backbone.safetensors": lambda saved: saved.network(),
    "backbone-optimizer.safetensors": lambda saved: saved.optimizer(),
    "head-00000-of-00001.safetensors": lambda saved: head_rows(saved, "weight", 0, 7),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("left", [None, 0, 5, 40, -1])
def test_truncated_or_missing_arrays(tmp_path, name, left):
    path = write(tmp_path)
    content = (path / name).read_bytes()
    if left is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(content[:left])
    refused(lambda: READERS[name](Checkpoint(path)), path / name)


def test_sweep_removes_what_is_half_there_and_nothing_else(tmp_path):
    whole = write(tmp_path)
    for name in (".epoch_2.partial", ".step_9-2.removed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "backbone.safetensors").write_bytes(b"x")
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / ".config.partial").write_text("a file being written")
    (tmp_path / ".latest.partial").symlink_to("epoch_1")
    pointers.sweep(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".config.partial", ".latest.partial", "epoch_1", "mine.partial"]
    np.testing.assert_array_equal(head_rows(Checkpoint(whole), "weight", 0, 7), rows_of(7))


def test_remove(tmp_path):
    first, second = write(tmp_path), write(tmp_path, "epoch_2")
    pointers.remove(first)
    assert [path.name for path in tmp_path.iterdir()] == [second.name]


def test_remove_cut_short_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    path = write(tmp_path)

    def killed(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(pointers.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        pointers.remove(path)
    assert not path.exists() and pointers.checkpoints_in(tmp_path) == []
    monkeypatch.undo()
    pointers.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_in_leaves_out_pointers_and_what_is_not_whole(tmp_path):
    write(tmp_path), write(tmp_path, "step_7")
    pointers.point(tmp_path, "latest", "step_7")
    (tmp_path / ".epoch_9.partial").mkdir()
    (tmp_path / ".epoch_9.partial" / "state.json").write_text("{}")
    (tmp_path / "train.log").write_text("")
    (tmp_path / "folder").mkdir()
    found = sorted(item.path.name for item in pointers.checkpoints_in(tmp_path))
    assert found == ["epoch_1", "step_7"]


def test_pointer(tmp_path):
    assert pointers.target(tmp_path / "latest") is None
    for name in ("epoch_1", "epoch_2"):
        write(tmp_path, name)
        pointers.point(tmp_path, "latest", name)
        assert pointers.target(tmp_path / "latest") == name
        assert Checkpoint(tmp_path / "latest").state["run"] == "a"
    assert os.readlink(tmp_path / "latest") == "epoch_2"  # relative: the folder may be moved
    (tmp_path / ".latest.partial").symlink_to("x")  # left by a killed process
    pointers.point(tmp_path, "latest", "epoch_1")
    assert pointers.target(tmp_path / "latest") == "epoch_1"


def nothing_whole(root):
    return not root.is_dir() or pointers.checkpoints_in(root) == []


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_write_that_fails_is_one_line_and_leaves_nothing_whole(tmp_path, monkeypatch, failing):
    calls = []

    def write_tensors(path, tensors, **others):
        calls.append(path)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        tensor_file.write_tensors(path, tensors, **others)

    monkeypatch.setattr(checkpoint, "write_tensors", write_tensors)
    refused(lambda: write(tmp_path), tmp_path / "epoch_1", "No space left", "rank 0")
    assert nothing_whole(tmp_path)
    monkeypatch.undo()
    path = write(tmp_path)  # what was left is no hindrance
    np.testing.assert_array_equal(head_rows(Checkpoint(path), "weight", 0, 7), rows_of(7))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    refused(lambda: write(tmp_path / "file" / "root"), tmp_path / "file" / "root", "rank 0")


def test_a_state_that_cannot_be_written(tmp_path, monkeypatch):
    sync = atomic.sync

    def fails_for_state(path):
        if path.name == "state.json":
            raise OSError(5, "Input/output error")
        sync(path)

    monkeypatch.setattr(checkpoint, "sync", fails_for_state)
    refused(lambda: write(tmp_path), tmp_path / "epoch_1", "Input/output error")
    assert nothing_whole(tmp_path)


def test_a_read_only_folder(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    try:
        refused(lambda: write(tmp_path), tmp_path / "epoch_1")
    finally:
        tmp_path.chmod(0o700)
    assert nothing_whole(tmp_path)


def test_another_rank_that_could_not_write_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        joint_work, "gather_objects", lambda item: [item, ["rank 1 on far: disk full"]]
    )
    refused(lambda: write(tmp_path), "rank 1 on far: disk full")
    assert nothing_whole(tmp_path)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_are_readable_as_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        path = write(tmp_path / "root")
        assert os.umask(mask) == mask  # unchanged by the save
    finally:
        os.umask(before)
    for item in path.iterdir():
        assert stat.S_IMODE(item.stat().st_mode) == 0o666 & ~mask, item
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~mask


def test_no_room(tmp_path, monkeypatch):
    """What is written is counted, what can be linked is not; the disk is as it was."""
    first = write(tmp_path, part_rows=4)
    size = sum(item.stat().st_size for item in first.iterdir() if item.name != "state.json")
    monkeypatch.setattr(checkpoint, "SPARE_BYTES", 0)

    def disk(free):
        monkeypatch.setattr(
            checkpoint.shutil, "disk_usage", lambda path: SimpleNamespace(free=free)
        )

    disk(size - 1)
    refused(
        lambda: write(tmp_path, "epoch_2", part_rows=4),
        tmp_path / "epoch_2",
        "free",
        "max_num_latest_checkpoint",
        "output_dir",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_1"]
    np.testing.assert_array_equal(head_rows(Checkpoint(first), "weight", 0, 7), rows_of(7))
    disk(size)
    write(tmp_path, "epoch_2", part_rows=4)
    heads = [item.stat().st_size for item in first.glob("head-*")]
    disk(size - sum(heads))
    unchanged = Unchanged(first, np.zeros(2, bool), 4)
    write(tmp_path, "epoch_3", part_rows=4, unchanged={"head": unchanged})
    assert len(heads) == 2
    disk(2 * size - 1)
    monkeypatch.setattr(checkpoint, "gather_objects", lambda item: [item, item])  # another rank
    refused(lambda: write(tmp_path, "epoch_4", part_rows=4), "free")


def test_a_long_save_says_how_far_it_is(tmp_path, monkeypatch):
    lines = []
    write(tmp_path, report=lines.append)
    assert lines == []
    monkeypatch.setattr(write_meter, "FIRST_REPORT", 0.0)
    monkeypatch.setattr(write_meter, "NEXT_REPORTS", 1e9)
    write(tmp_path, "epoch_2", report=lines.append)
    assert lines[0].startswith(f"writing {tmp_path / 'epoch_2'}: 0.00 of 0.00 GB")
    assert lines[-1].startswith(f"wrote {tmp_path / 'epoch_2'}: ") and "MB/s" in lines[-1]
    assert len(lines) == 2


@pytest.mark.parametrize("key", ["num_classes", "head_shards", "head_part_classes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "7", None, True])
def test_counts_that_are_none(tmp_path, key, value):
    path = write(tmp_path)
    unsealed = json.dumps({**Checkpoint(path).state, key: value})  # as plsc 3.0 wrote it
    (path / "state.json").write_text(unsealed)
    refused(
        lambda: head_rows(Checkpoint(path), "weight", 0, 7),
        path / "state.json",
        f"{key!r} is {value!r}",
    )
