"""Write what was measured with a model into the model's own file, where all find it."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plsc.checkpoint.checksums import changed
from plsc.config import yaml_tree
from plsc.errors import UserError
from plsc.files.atomic import write_output
from plsc.files.mapped_file import read_json
from plsc.inference.network import Measurement, ModelKind


def store(kind: ModelKind, model: Path, key: Measurement, table: Mapping[str, Any]) -> Path:
    """Write `table` into the model, in place of one that is there; return the changed file.

    Args:
        kind: of the model.
        model: ONNX file, checkpoint folder, or stem of a Paddle inference model.
        key: of the metadata.
        table: what `thresholds_of` or `Calibration.to_dict` gives.

    Raises:
        UserError: the system refuses to write.

    """
    into = {"onnx": _into_onnx, "checkpoint": _into_checkpoint, "paddle": _into_paddle}[kind]
    return into(model, key, table)


def require_storable(kind: ModelKind, option: str) -> None:
    """Refuse, before the work, what could not be done.

    Args:
        kind: of the model.
        option: of the command that asks for it.

    Raises:
        UserError: the module onnx is missing, or the file has no place for it.

    """
    if kind == "torch":
        raise UserError(
            f"{option}: a .pth keeps nothing beside its weights: make an ONNX file of it first "
            "(plsc-export -c CONFIG.yaml -o Global.pretrained_model=FILE.pth) and measure that"
        )
    if kind == "onnx" and importlib.util.find_spec("onnx") is None:
        raise UserError(f"{option} in an ONNX file needs onnx: pip install onnx")


def _into_onnx(model: Path, key: Measurement, table: Mapping[str, Any]) -> Path:
    import onnx

    path = model.resolve()  # a link stays one
    content = onnx.load(str(path), load_external_data=False)
    said = {item.key: item.value for item in content.metadata_props}
    onnx.helper.set_model_props(content, said | {key: json.dumps(table)})
    write_output(path, content.SerializeToString())
    return path


def _into_checkpoint(model: Path, key: Measurement, table: Mapping[str, Any]) -> Path:
    path = model.resolve() / "state.json"
    text = changed(read_json(path, "state"), {key: table})
    write_output(path, text)
    return path


def _into_paddle(model: Path, key: Measurement, table: Mapping[str, Any]) -> Path:
    path = model.with_name(model.name + ".yml").resolve()
    said = yaml_tree.read(path) if path.is_file() else {}
    write_output(path, yaml_tree.dump(said | {key: json.dumps(table)}))
    return path
