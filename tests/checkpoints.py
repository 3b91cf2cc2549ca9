"""Checkpoints: written without a training, and compared."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from plsc.checkpoint import folder as checkpoint


def saved(root: Path, network, *, centres: np.ndarray | None = None, part_rows=None, **state):
    """Write `network` as a checkpoint with these class centres, and return its folder."""
    if centres is None:
        centres = np.ones((5, network.num_features), np.float32)
    begun = {"run": "a", "step": 3, "epoch": 1, "consumed": 4, "num_images": 8, "scaler": {}}
    begun |= {"best_metric": None, "global_batch": 2, "num_classes": len(centres)}
    return checkpoint.save(
        root,
        "latest",
        network={name: tensor.numpy() for name, tensor in network.state_dict().items()},
        optimizer={},
        sharded={"head": {"weight": centres}},
        state={**begun, **state},
        **({"part_rows": part_rows} if part_rows else {}),
    )


def head_of(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint's head, by name, joined from its files."""
    parts = [load_file(path) for path in sorted(folder.glob("head-*.safetensors"))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def backbone_of(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint's backbone, by name."""
    return load_file(folder / "backbone.safetensors")


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    """Return all tensors of a checkpoint; the head's names begin with `head `."""
    head = {f"head {name}": array for name, array in head_of(folder).items()}
    return {**backbone_of(folder), **load_file(folder / "backbone-optimizer.safetensors"), **head}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Hold tensors equal to the bit, by name."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
