"""What is measured goes into the model's own file, and all else in it stays."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import vectors, write_model

from plsc.config import yaml_tree
from plsc.errors import UserError
from plsc.inference.stored_measurements import require_storable, store

TABLE = {"version": 1, "values": [1.5, 2.0]}


def said_by(path):
    model = onnx.load(str(path), load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


@pytest.fixture
def model(tmp_path):
    path = write_model(
        tmp_path / "model.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        given=vectors("x", "N", 3),
        made=vectors("y", "N", 200),
        weights={"w": np.arange(600, dtype=np.float32).reshape(3, 200)},
        mean="127.5",
        thresholds="[]",
    )
    aside = {"save_as_external_data": True, "location": "weights.data", "size_threshold": 0}
    onnx.save(onnx.load(str(path)), str(path), **aside)
    return path


def test_into_onnx_beside_what_it_says_and_without_its_weights(model):
    weights = (model.parent / "weights.data").read_bytes()
    assert store("onnx", model, "quality", TABLE) == model
    wanted = {"mean": "127.5", "thresholds": "[]", "quality": json.dumps(TABLE)}
    assert said_by(model) == wanted
    (weight,) = onnx.load(str(model), load_external_data=False).graph.initializer
    assert weight.data_location == TensorProto.EXTERNAL and not weight.raw_data
    assert (model.parent / "weights.data").read_bytes() == weights
    store("onnx", model, "quality", {"version": 1})
    assert said_by(model) == wanted | {"quality": '{"version": 1}'}


def test_into_what_a_link_leads_to(model, tmp_path):
    link = tmp_path / "link.onnx"
    link.symlink_to(model)
    assert store("onnx", link, "quality", TABLE) == model
    assert link.is_symlink() and said_by(model)["quality"] == json.dumps(TABLE)


def test_into_a_checkpoint(tmp_path):
    state = {"step": 7, "config": {"Global": {"seed": 1}}, "thresholds": {"fmr": []}}
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert store("checkpoint", tmp_path, "quality", TABLE) == tmp_path / "state.json"
    assert json.loads((tmp_path / "state.json").read_text()) == state | {"quality": TABLE}


@pytest.mark.parametrize("said", [{}, {"mean": [1, 2, 3], "quality": "old"}])
def test_into_what_lies_beside_a_paddle_model(said, tmp_path):
    path = tmp_path / "net.v2.yml"
    if said:
        path.write_text(yaml_tree.dump(said))
    assert store("paddle", tmp_path / "net.v2", "quality", TABLE) == path
    assert yaml_tree.read(path) == said | {"quality": json.dumps(TABLE)}


def test_a_pth_keeps_nothing():
    with pytest.raises(UserError, match=r"--calibrate: a \.pth keeps nothing .*plsc-export"):
        require_storable("torch", "--calibrate")
    for kind in ("onnx", "checkpoint", "paddle"):
        require_storable(kind, "--calibrate")
