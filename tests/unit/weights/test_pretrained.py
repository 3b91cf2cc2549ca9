"""Weights to start from: PLSC's files as paddle.save writes them, and checkpoints of plsc."""

import pickle

import numpy as np
import paddle
import pytest
from checkpoints import saved
from paddle import nn
from pickles import Calls
from refusals import refused

from plsc.weights import pretrained
from plsc.weights.pretrained import find_weights, set_backbone

CENTRES = np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32)
BACKBONE = {
    "fc.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fc.bias": np.ones(4, np.float32),
}


def load_weights(path):
    """Neither PLSC's weights nor a checkpoint's depend on the network that they are for."""
    return pretrained.load_weights(path, nn.Layer())


def dump(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def write_shards(folder, sizes, *, key="head.weight"):
    """`latest.pdparams` and one `latest_rankN.pdparams` of so many classes each."""
    dump(folder / "latest.pdparams", BACKBONE)
    first = 0
    for rank, size in enumerate(sizes):
        dump(folder / f"latest_rank{rank}.pdparams", {key: CENTRES[first : first + size]})
        first += size
    return str(folder / "latest")


def same(read, expected):
    assert read.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("suffix", ["", ".pdparams"])
def test_one_file_with_the_head(tmp_path, protocol, suffix, assert_pieces):
    content = {**BACKBONE, "head.weight": CENTRES}
    dump(tmp_path / "best.pdparams", content, protocol)
    weights = load_weights(str(tmp_path / "best") + suffix)
    same(weights.backbone, BACKBONE)
    for start, stop in ((0, 11), (0, 6), (6, 11), (3, 4), (8, 20)):
        count, pieces = weights.head(start, stop)
        assert count == 11
        assert_pieces(pieces, CENTRES[start:stop], start)


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_extras_of_paddle_save_are_left_out(tmp_path, protocol):
    """Parameter names beside the arrays; (name, array) pairs; a text among them."""
    content = {
        "fc.weight": ("linear_0.w_0", BACKBONE["fc.weight"]),
        "fc.bias": BACKBONE["fc.bias"],
        "StructuredToParameterName@@": {"fc.weight": "linear_0.w_0"},
        "note": "text",
    }
    dump(tmp_path / "best.pdparams", content, protocol)
    weights = load_weights(str(tmp_path / "best"))
    same(weights.backbone, BACKBONE)
    assert weights.head(0, 5) == (0, None)


@pytest.mark.parametrize("sizes", [[11], [6, 5], [1, 9, 1], [5, 0, 6], [1] * 11])
def test_shards_of_any_size(tmp_path, sizes, assert_pieces):
    """Eleven shards: rank 10 comes after rank 9, not after rank 1."""
    weights = load_weights(write_shards(tmp_path, sizes))
    same(weights.backbone, BACKBONE)
    for start in range(11):
        for stop in range(start + 1, 12):
            count, pieces = weights.head(start, stop)
            assert count == 11
            assert_pieces(pieces, CENTRES[start:stop], start)


def test_files_of_other_prefixes_are_no_shards(tmp_path):
    prefix = write_shards(tmp_path, [6, 5])
    for name in ("latest_rank7.pdopt", "my_latest_rank7.pdparams", "latest_rankx.pdparams"):
        dump(tmp_path / name, {"head.weight": CENTRES})
    assert load_weights(prefix).head(0, 11)[0] == 11


def test_a_missing_shard_is_named(tmp_path):
    prefix = write_shards(tmp_path, [4, 4, 3])
    (tmp_path / "latest_rank1.pdparams").unlink()
    refused(lambda: load_weights(prefix), prefix, "[0, 2]")


def test_a_shard_without_centres_is_named(tmp_path):
    prefix = write_shards(tmp_path, [6, 5])
    dump(tmp_path / "latest_rank1.pdparams", {"other": CENTRES})
    weights = load_weights(prefix)  # evaluation needs no head
    same(weights.backbone, BACKBONE)
    refused(lambda: weights.head(0, 11), "latest_rank1.pdparams", "head.weight")


@pytest.mark.parametrize("rows", [CENTRES[:5, :3], CENTRES[:5, 0]], ids=["narrow", "flat"])
def test_a_shard_of_another_shape_is_named(tmp_path, rows):
    prefix = write_shards(tmp_path, [6, 5])
    dump(tmp_path / "latest_rank1.pdparams", {"head.weight": rows})
    refused(lambda: load_weights(prefix).head(0, 11), "latest_rank1.pdparams")


def test_centres_of_one_dimension_in_the_one_file(tmp_path):
    dump(tmp_path / "best.pdparams", {**BACKBONE, "head.weight": CENTRES[0]})
    refused(lambda: load_weights(str(tmp_path / "best")), "best.pdparams", "head.weight")


def test_what_is_no_state_dict(tmp_path):
    dump(tmp_path / "best.pdparams", [CENTRES])
    refused(lambda: load_weights(str(tmp_path / "best")), "best.pdparams", "list")


def test_a_malicious_file_runs_nothing(tmp_path):
    evil = Calls(open, str(tmp_path / "pwned"), "w")
    dump(tmp_path / "best.pdparams", {"fc.weight": evil})
    refused(lambda: load_weights(str(tmp_path / "best")), "best.pdparams", "refused")
    prefix = write_shards(tmp_path, [6, 5])
    dump(tmp_path / "latest_rank1.pdparams", {"head.weight": evil})
    refused(lambda: load_weights(prefix).head(0, 11), "latest_rank1.pdparams", "refused")
    assert not (tmp_path / "pwned").exists()


def test_a_truncated_file_is_named(tmp_path):
    prefix = write_shards(tmp_path, [])
    content = (tmp_path / "latest.pdparams").read_bytes()
    (tmp_path / "latest.pdparams").write_bytes(content[: len(content) // 2])
    refused(lambda: load_weights(prefix), "latest.pdparams", "truncated")


def test_nothing_there(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        refused(lambda path=path: find_weights(str(path)), repr(str(path)), "state.json")


def test_a_checkpoint_of_plsc(tmp_path, assert_pieces):
    layer = backbone()
    set_backbone(layer, BACKBONE, source="x")
    weights = load_weights(str(saved(tmp_path, layer, centres=CENTRES)))
    same(weights.backbone, BACKBONE)
    for start, stop in ((0, 11), (4, 7), (9, 30)):
        count, pieces = weights.head(start, stop)
        assert count == 11
        assert_pieces(pieces, CENTRES[start:stop], start)


def backbone():
    layer = nn.Sequential()
    layer.add_sublayer("fc", nn.Linear(3, 4))
    return layer


def test_weights_are_set_in_the_layers_own_type():
    layer = backbone()
    set_backbone(layer, {n: a.astype(np.float64) for n, a in BACKBONE.items()}, source="x")
    assert layer.fc.weight.dtype == paddle.float32
    same({name: tensor.numpy() for name, tensor in layer.state_dict().items()}, BACKBONE)


def test_all_that_does_not_fit_is_listed():
    layer = backbone()
    before = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    weights = {"fc.weight": BACKBONE["fc.weight"].T, "neck.bias": CENTRES, "neck.weight": CENTRES}
    text = refused(lambda: set_backbone(layer, weights, source="some/path"), "some/path")
    assert "1 missing: fc.bias" in text
    assert "2 unknown: neck.bias, neck.weight" in text
    assert "1 of another shape: fc.weight [4, 3] instead of [3, 4]" in text
    same({name: tensor.numpy() for name, tensor in layer.state_dict().items()}, before)


def test_a_long_list_is_cut_short():
    weights = {**BACKBONE, **{f"extra.{i}": CENTRES for i in range(40)}}
    text = refused(lambda: set_backbone(backbone(), weights, source="p"), "40 unknown", "…")
    assert len(text) < 300 and "missing" not in text
