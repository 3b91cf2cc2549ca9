"""A head to a checkpoint and back: by pieces, by whole zones where rows lie in files."""

import numpy as np
import pytest
from refusals import refused

from plsc.checkpoint import folder as checkpoint
from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.sharded_rows import fill, rows_of
from plsc.distributed import joint_work
from plsc.distributed.sharding import RowShard
from plsc.errors import UserError
from plsc.files import tensor_file
from plsc.files.rounding import NUMPY_DTYPES
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.row_order import RowOrder
from plsc.recognition.heads.stores import HostRows

NUM_CLASSES, DIM, ZONE = 23, 3, 4
STATE = {
    **{"run": "a", "step": 3, "epoch": 1, "consumed": 4, "num_images": 8, "best_metric": None},
    **{"global_batch": 2, "scaler": {}, "num_classes": NUM_CLASSES},
}


def centres_of(dtype="float32", *, seed=None, shard=None, names=("weight", "velocity")):
    """Empty centres; with a seed their rows lie in a random order, as in files."""
    shard = shard or RowShard(NUM_CLASSES)
    shape = (shard.num_local, DIM)
    stores = {name: HostRows(np.zeros(shape, NUMPY_DTYPES[dtype])) for name in names}
    if seed is None:
        return ClassCentres(shard, DIM, stores, zone=ZONE)
    order = RowOrder(shard.num_local, seed=(seed,), zone=ZONE)
    return ClassCentres(shard, DIM, stores, order=order, block=2)


def filled(dtype="float32", *, seed=None):
    centres = centres_of(dtype, seed=seed)
    for number, name in enumerate(centres.names):
        values = np.random.default_rng(number).normal(size=(NUM_CLASSES, DIM))
        centres.write(name, values.astype(np.float32))
    return centres


def save(root, centres, name="step_3", part_rows=8, **others):
    return checkpoint.save(
        root,
        name,
        network={},
        optimizer={},
        sharded={"head": rows_of(centres)},
        state=STATE,
        part_rows=part_rows,
        **others,
    )


def restore(path, centres):
    head, shard = Checkpoint(path).rows("head", "num_classes"), centres.shard
    pieces = {
        name: head.pieces(name, shard.start, shard.stop, dtype=centres.dtype)
        for name in centres.names
    }
    fill(centres, pieces, purpose=f"{path} cannot be resumed")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("piece", [1, 36, 100, 2**20])
@pytest.mark.parametrize(("seed", "other"), [(None, None), (1, 2), (None, 1)])
def test_there_and_back(tmp_path, monkeypatch, dtype, piece, seed, other):
    monkeypatch.setattr(tensor_file, "PIECE_BYTES", piece)
    centres = filled(dtype, seed=seed)
    path = save(tmp_path, centres)
    assert len(list(path.glob("head-*.part-*-of-00003.safetensors"))) == 3
    for shard in (RowShard(NUM_CLASSES), RowShard(NUM_CLASSES, 1, 3)):
        again = centres_of(dtype, seed=other, shard=shard)
        restore(path, again)
        assert again.dtype == dtype
        for name in centres.names:
            rows = centres.read(name, shard.start, shard.stop)
            np.testing.assert_array_equal(again.read(name), rows)


@pytest.mark.parametrize("seed", [None, 1])
def test_rows_of_files_move_by_whole_zones_only(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(tensor_file, "PIECE_BYTES", 3 * DIM * 4)  # three rows
    centres = filled(seed=seed)
    moved = []
    read, write = centres.read, centres.write

    def noted_read(name, start, stop):
        moved.append((start, stop))
        return read(name, start, stop)

    def noted_write(name, values, start):
        moved.append((start, start + len(values)))
        write(name, values, start)

    monkeypatch.setattr(centres, "read", noted_read)
    monkeypatch.setattr(centres, "write", noted_write)
    path = save(tmp_path, centres)
    zones = [(start, min(start + ZONE, NUM_CLASSES)) for start in range(0, NUM_CLASSES, ZONE)]
    assert max(stop - start for start, stop in moved) == (3 if seed is None else ZONE)
    if seed is not None:
        assert sorted(moved) == sorted(2 * zones)  # each once for each of two tensors
    moved.clear()
    restore(path, centres)
    if seed is not None:
        assert moved == 2 * zones


def test_what_cannot_be_read_is_named(tmp_path):
    path = save(tmp_path, filled())
    part = path / "head-00000-of-00001.part-00001-of-00003.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    text = refused(lambda: restore(path, centres_of()), part.name)
    assert text.startswith(f"{path} cannot be resumed: rank 0 on ")


def test_a_failure_of_another_rank_is_heard(tmp_path, monkeypatch):
    path = save(tmp_path, filled())
    others = iter([True] * 9 + [False] * 99)  # the other rank has more to read
    met = []

    def agree(flag):
        met.append(flag)
        return flag or next(others)

    monkeypatch.setattr(joint_work, "agree", agree)
    monkeypatch.setattr(joint_work, "gather_objects", lambda item: [item, ["rank 1 on far: gone"]])
    with pytest.raises(UserError, match="rank 1 on far: gone"):
        restore(path, centres_of())
    assert met == sorted(met, reverse=True) and met.count(False) == 10
