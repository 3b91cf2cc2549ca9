"""Heads that begin with class means or with the rows of a checkpoint, a piece at a time."""

from types import SimpleNamespace

import checkpoints
import numpy as np
import paddle
import pytest
from logs import Log
from paddle import nn
from refusals import refused
from small_training import faces

from plsc.config.sections import GlobalConfig
from plsc.distributed.sharding import RowShard
from plsc.files import tensor_file
from plsc.files.rounding import decode
from plsc.recognition import finetune
from plsc.recognition.finetune import load_head, set_class_means
from plsc.recognition.heads.centres import ClassCentres
from plsc.weights.pretrained import load_weights

NUM_CLASSES, DIM = 9, 4
RESOLUTION = {"float32": 1e-6, "float16": 2**-11, "bfloat16": 2**-8}
INITIAL = np.random.default_rng(0).normal(size=(NUM_CLASSES, DIM)).astype(np.float32)


def centres_of(dtype="float32", *, dim=DIM):
    centres = ClassCentres.zeros(RowShard(NUM_CLASSES), dim, state_names=("v",), dtype=dtype)
    if dim == DIM:
        centres.write("weight", INITIAL)
    return centres


def identity():
    layer = nn.Linear(DIM, DIM)
    layer.weight.set_value(np.eye(DIM, dtype=np.float32))
    return layer


@pytest.mark.parametrize("dtype", RESOLUTION)
@pytest.mark.parametrize("in_memory", [0, 2**30])
def test_class_means(tmp_path, monkeypatch, dtype, in_memory):
    """Against float64; sums in a file and in memory; 11 images, the last batch filled up with 3."""
    monkeypatch.setattr(finetune, "SUMS_IN_MEMORY", in_memory)
    monkeypatch.setattr(tensor_file, "PIECE_BYTES", 2 * DIM * 4)  # two classes
    random = np.random.default_rng(1)
    images = random.normal(size=(11, DIM)).astype(np.float32)
    labels = random.choice([0, 1, 3, 4, 6, 8], 11)
    order = [*range(11), 0, 1, 2, 3, 4]
    batches = [order[start : start + 4] for start in (0, 4, 8)]
    given = [(paddle.to_tensor(images[b]), faces(images[b], labels[b])) for b in batches]
    centres, network, log = centres_of(dtype), identity(), Log()
    set_class_means(centres, network, given, 11, folder=tmp_path, log=log)
    unit = images.astype(np.float64) / np.linalg.norm(images, axis=1, keepdims=True)
    expected = INITIAL.astype(np.float64)
    for number in np.unique(labels):
        mean = unit[labels == number].sum(axis=0)
        expected[number] = mean / np.linalg.norm(mean) * 0.01 * np.sqrt(DIM)
    found = decode(centres.read("weight"))
    np.testing.assert_allclose(found, expected, rtol=RESOLUTION[dtype], atol=2e-8)
    assert f"({len(np.unique(labels))} of 9 on this rank)" in log.lines[-1]
    assert list(tmp_path.iterdir()) == []
    assert network.training


def test_no_room_for_the_sums(tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "SUMS_IN_MEMORY", 0)
    free = SimpleNamespace(free=NUM_CLASSES * DIM * 4 - 1)
    monkeypatch.setattr(finetune.shutil, "disk_usage", lambda folder: free)
    refused(
        lambda: set_class_means(centres_of(), identity(), [], 11, folder=tmp_path, log=Log()),
        "Global.head_init",
        tmp_path,
    )


def settings_of(path):
    return GlobalConfig(device="cpu", pretrained_model=str(path))


@pytest.fixture
def saved(tmp_path):
    return checkpoints.saved(tmp_path, identity(), centres=2 * INITIAL, part_rows=4)


@pytest.mark.parametrize("dtype", RESOLUTION)
def test_the_head_of_a_checkpoint(saved, monkeypatch, dtype):
    monkeypatch.setattr(tensor_file, "PIECE_BYTES", 2 * DIM * 4)
    centres, log = centres_of(dtype), Log()
    load_head(centres, load_weights(str(saved), identity()), settings_of(saved), log)
    found = decode(centres.read("weight"))
    np.testing.assert_allclose(found, 2 * INITIAL, rtol=RESOLUTION[dtype])
    assert "9 class centres" in log.lines[-1]


def test_centres_of_another_dimension(saved):
    weights = load_weights(str(saved), identity())
    refused(
        lambda: load_head(centres_of(dim=DIM + 1), weights, settings_of(saved), Log()),
        "4 dimensions, this Model 5",
        saved,
    )
