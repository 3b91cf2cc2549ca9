"""Thresholds on their way into a model's own file, where all that loads it finds them."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plsc import yaml_tree
from plsc.data.finished_file import finished_file
from plsc.errors import UserError
from plsc.inference.network import Kind

KEY = "thresholds"


def store_thresholds(kind: Kind, model: Path, table: Mapping[str, Any]) -> Path:
    """Write `table` into the model, in place of one that is there; the file that was replaced.

    Args:
        kind: of the model.
        model: ONNX file, checkpoint folder, or stem of a Paddle inference model.
        table: what `thresholds_of` gives.

    Raises:
        UserError: the system refuses to write.

    """
    store = {"onnx": _into_onnx, "checkpoint": _into_checkpoint, "paddle": _into_paddle}[kind]
    return store(model, table)


def require_storable(kind: Kind) -> None:
    """Refuse, before the work, what could not be done.

    Raises:
        UserError: the module onnx is missing.

    """
    if kind == "onnx" and importlib.util.find_spec("onnx") is None:
        raise UserError("--store_thresholds in an ONNX file needs onnx: pip install onnx")


def _into_onnx(model: Path, table: Mapping[str, Any]) -> Path:
    import onnx

    path = model.resolve()  # a link stays one
    content = onnx.load(str(path), load_external_data=False)
    said = {item.key: item.value for item in content.metadata_props}
    onnx.helper.set_model_props(content, said | {KEY: json.dumps(table)})
    with finished_file(path) as partial:
        partial.write_bytes(content.SerializeToString())
    return path


def _into_checkpoint(model: Path, table: Mapping[str, Any]) -> Path:
    path = model.resolve() / "state.json"
    state = json.loads(path.read_text(encoding="utf-8")) | {KEY: table}
    with finished_file(path) as partial:
        partial.write_text(json.dumps(state, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def _into_paddle(model: Path, table: Mapping[str, Any]) -> Path:
    path = model.with_name(model.name + ".yml").resolve()
    said = yaml_tree.read(path) if path.is_file() else {}
    with finished_file(path) as partial:
        text = yaml_tree.dump(said | {KEY: json.dumps(table)})
        partial.write_text(text, encoding="utf-8")
    return path
