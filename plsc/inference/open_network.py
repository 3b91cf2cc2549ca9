"""A path -> the network that lies there: an ONNX file, a checkpoint, a Paddle export, a .pth."""

from pathlib import Path

from plsc.config.expanded import expand
from plsc.errors import UserError
from plsc.files.onnx_file import is_onnx_file
from plsc.files.torch_file import is_torch_file
from plsc.inference.network import Network
from plsc.inference.onnx_network import open_onnx
from plsc.inference.paddle_network import open_checkpoint, open_paddle
from plsc.inference.torch_network import SUFFIXES, open_torch

CHECKPOINT_STATE = "state.json"


def open_network(model: str, provider: str, *, output: str | None = None) -> Network:
    """Return the network at `model`: what lies there decides who opens it.

    Args:
        model: the path; `~` and environment variables in it are expanded.
        provider: as the command's option has it.
        output: the name of an ONNX file's output, where several could be the embedding.

    Raises:
        UserError: nothing that is a model, or it cannot be used.

    """
    model = expand(model)
    path = Path(model)
    if not path.name:
        raise UserError(f"{model!r}: {_what_else(path / 'model')}")
    if path.suffix in (".onnx", *SUFFIXES) and not path.is_file():
        raise UserError(f"{model}: no such file")
    if path.suffix == ".onnx" or (path.is_file() and is_onnx_file(path)):
        return open_onnx(model, provider, output)
    if output is not None:
        raise UserError(f"{model}: --output is for ONNX files: leave it out")
    if path.suffix in SUFFIXES or (path.is_file() and is_torch_file(path)):
        return open_torch(model, provider)
    if (path / CHECKPOINT_STATE).is_file():
        return open_checkpoint(model, provider)
    stem = path.with_suffix("") if path.suffix in (".json", ".pdiparams") else path
    if all(stem.with_name(stem.name + end).is_file() for end in (".json", ".pdiparams")):
        return open_paddle(stem, provider)
    raise UserError(f"{model}: {_what_else(path)}")


def _what_else(path: Path) -> str:
    kinds = (
        "a model is an .onnx file, a checkpoint folder or a Paddle inference model, or the .pth of "
        "an IResNet"
    )
    weights = path if path.suffix == ".pdparams" else path.with_name(path.name + ".pdparams")
    if weights.is_file():
        return "weights without their network: make a model of them with plsc-export"
    if path.is_dir():
        pointers = [name for name in ("best_model", "latest") if (path / name).exists()]
        hint = f": did you mean {path / pointers[0]}?" if pointers else ""
        return f"this folder is no checkpoint{hint}; {kinds}"
    return f"{'is none of these' if path.exists() else 'there is no such model'}: {kinds}"
