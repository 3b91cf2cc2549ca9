"""The config of a training that is measured, as a tree from a file would give it."""

from typing import Any


def training_config(
    backbone: str,
    *,
    classes: int,
    ratio: float = 1.0,
    dim: int = 512,
    lr: float = 0.01,
    optimizer: str = "Momentum",
    storage: dict[str, Any] | None = None,
    **sections: dict[str, Any],
) -> Any:
    """Return ArcFace with clipping on a CPU; `sections` have further keys."""
    from plsc.config.load import parse_config

    tree: dict[str, dict[str, Any]] = {
        "Global": {"device": "cpu", "epochs": 1},
        "Model": {
            "name": backbone,
            "num_features": dim,
            "class_num": classes,
            "pfc_config": {"sample_ratio": ratio, **(storage or {})},
        },
        "Loss": {"Train": [{"MarginLoss": {"m2": 0.5, "s": 64.0}}]},
        "LRScheduler": {"name": "Poly", "learning_rate": lr, "decay_unit": "step"},
        "Optimizer": {"name": optimizer, "grad_clip": {"clip_norm": 5.0}},
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}
    return parse_config(tree)


def random_faces(batch: int) -> dict[str, Any]:
    """Return a section DataLoader of random faces, one of each class in a batch."""
    dataset = {"name": "FaceRandomDataset", "num_classes": batch}
    return {"Train": {"dataset": dataset, "sampler": {"batch_size": batch}}}
