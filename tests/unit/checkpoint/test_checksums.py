"""Damage that leaves a file readable: noticed when it is read, and the file is named."""

import json
import random

import numpy as np
import pytest
from safetensors.numpy import save_file

from plsc.checkpoint import checksums
from plsc.checkpoint import folder as checkpoint
from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.sharded_files import Unchanged
from plsc.errors import DamagedFile
from plsc.files import block_sums, checked_file
from plsc.files.tensor_file import TensorFile, write_tensors

STATE = {"run": "a", "step": 12, "epoch": 1, "consumed": 4, "best_metric": 0.1 + 0.2}
STATE |= {"num_images": 8, "global_batch": 2, "scaler": {"scale": 1e300}, "num_classes": 9}
ROWS = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks in each file."""
    monkeypatch.setattr(block_sums, "BLOCK_BYTES", 64)
    monkeypatch.setattr(checked_file, "BLOCK_BYTES", 64)
    monkeypatch.setattr(checked_file, "CHECKED_BYTES", 128)


def write(root, name="epoch_1", **arguments):
    return checkpoint.save(
        root,
        name,
        network={"w": ROWS},
        optimizer={"velocity/w": ROWS * 2},
        sharded={"head": {"weight": ROWS, "velocity": ROWS * 3}},
        state=STATE,
        part_rows=4,
        **arguments,
    )


def read_all(path):
    saved = Checkpoint(path)
    head = saved.rows("head", "num_classes")
    rows = [list(head.pieces(name, 0, 9, dtype="float32")) for name in ("weight", "velocity")]
    return saved.state, saved.network(), saved.optimizer(), rows


def test_any_flipped_bit_is_noticed_and_its_file_is_named(tmp_path):
    path, chance = write(tmp_path), random.Random(0)
    read_all(path)
    files = sorted(path.iterdir())
    assert len(files) == 6
    for file in files:
        content = file.read_bytes()
        places = [0, 8, len(content) - 1, *(chance.randrange(len(content)) for _ in range(60))]
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 1 << chance.randrange(8)
            file.write_bytes(changed)
            with pytest.raises(DamagedFile, match=file.name):
                read_all(path)
        file.write_bytes(content)
    read_all(path)


def test_files_that_changed_places_are_noticed(tmp_path):
    path = write(tmp_path)
    first, second = (path / f"head-00000-of-00001.part-0000{n}-of-00003.safetensors" for n in "01")
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(DamagedFile, match=first.name):
        read_all(path)


def test_some_rows_are_read_where_others_are_damaged(tmp_path):
    """What is not read costs nothing: only the blocks of the rows that are wanted are checked."""
    path = tmp_path / "rows.safetensors"
    rows = np.arange(4000, dtype=np.float32).reshape(100, 40)
    sums = write_tensors(path, {"weight": rows})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with TensorFile(path, sums) as file:
        for start, stop in [(0, 98), (3, 4), (50, 50), (97, 98)]:
            np.testing.assert_array_equal(file.rows("weight", start, stop), rows[start:stop])
        with pytest.raises(DamagedFile):
            file.rows("weight", 99, 100)


def test_linked_parts_keep_their_sums(tmp_path):
    first = write(tmp_path)
    kept = Unchanged(first, np.zeros(3, bool), 4)
    second = write(tmp_path, "epoch_2", unchanged={"head": kept})
    assert all(file.stat().st_nlink == 2 for file in second.glob("head-*"))
    assert Checkpoint(second).sums == Checkpoint(first).sums


def test_what_old_versions_wrote_is_read(tmp_path):
    path = write(tmp_path)
    (path / "state.json").write_text(json.dumps(Checkpoint(path).state))
    save_file({"w": ROWS + 1}, path / "backbone.safetensors")
    np.testing.assert_array_equal(read_all(path)[1]["w"], ROWS + 1)


def test_a_state_without_its_sums_is_not_an_old_one(tmp_path):
    path = write(tmp_path)
    content = json.loads((path / "state.json").read_text())
    for name in (checksums.SAVED_AT, checksums.CHECKSUMS):
        left = {key: entry for key, entry in content.items() if key != name}
        (path / "state.json").write_text(json.dumps(left))
        with pytest.raises(DamagedFile, match=r"state\.json"):
            Checkpoint(path)


def test_an_entry_of_a_sealed_state_is_changed_by_its_owner(tmp_path):
    path = write(tmp_path)
    file = path / "state.json"
    file.write_text(checksums.changed(json.loads(file.read_text()), {"quality": [1, 2.5]}))
    assert Checkpoint(path).state["quality"] == [1, 2.5]
    read_all(path)
