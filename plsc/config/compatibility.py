"""Keys of PLSC's files that a run does not depend on, and values of PLSC that plsc refuses."""

from typing import Any, Literal

from plsc.config.schema import check
from plsc.config.yaml_tree import Tree
from plsc.errors import UserError

# What PLSC has and plsc does not: key -> value -> what to do instead.
REFUSED: dict[str, dict[Any, str]] = {
    "Global.task_type": {"classification": "plsc trains face recognition"},
    "Global.use_dali": {True: "set it to False and give DataLoader.Train.loader its num_workers"},
    "Global.device": {"xpu": "use gpu or cpu", "npu": "use gpu or cpu"},
    "FP16.level": {"O2": "use O1"},
    "DistributedStrategy.data_sharding": {True: "remove it"},
}
# What PLSC's files hold and a run does not depend on: key -> type, reason.
WITHOUT_EFFECT: dict[str, tuple[Any, str]] = {
    "profiler_options": (dict | str, "there is no profiler"),
    "Global.train_epoch_func": (  # PLSC's own files have both spellings
        Literal["default_train_one_epoch", "defualt_train_one_epoch"],
        "there is one training loop",
    ),
    "Global.eval_func": (Literal["face_verification_eval"], "there is one evaluation"),
    "Global.flags": (dict, "set FLAGS_* in the environment"),
    "Global.use_dali": (Literal[False], "DALI is not used"),
    "DistributedStrategy.data_sharding": (Literal[False], "there is no data sharding"),
    "FP16.GradScaler.no_unscale_list": (list[str], "every gradient is unscaled"),
    "DataLoader.Train.loader.use_shared_memory": (bool, "batches always travel in shared memory"),
    "DataLoader.Eval.loader.use_shared_memory": (bool, "batches always travel in shared memory"),
    "Optimizer.exp_avg_force_fp32": (bool, "moments are always float32"),
    "Optimizer.use_master_param": (bool, "parameters are always float32"),
}
# What a run always does: a file that says False is told so.
ALWAYS_ON = {
    "DistributedStrategy.data_parallel": "processes always share the global batch",
    "Model.pfc_config.model_parallel": "the class centres are always split over the processes",
}


def _lookup(tree: Tree, path: str) -> tuple[Tree, str] | None:
    """Return the mapping that holds the last part of `path`, and that part; None without it."""
    *above, last = path.split(".")
    node: Any = tree
    for part in above:
        node = node.get(part) if isinstance(node, dict) else None
    return (node, last) if isinstance(node, dict) and last in node else None


def refuse(tree: Tree) -> None:
    """Raise a UserError for a value that PLSC has and plsc does not."""
    for path, values in REFUSED.items():
        if found := _lookup(tree, path):
            section, name = found
            for value, remedy in values.items():
                if section[name] is value or (isinstance(value, str) and section[name] == value):
                    raise UserError(f"{path}: {value} is not supported; {remedy}")


def drop_without_effect(tree: Tree) -> list[str]:
    """Take the keys that have no effect out of `tree`; return a line for each of them."""
    notes = []
    for path, (annotation, reason) in WITHOUT_EFFECT.items():
        if found := _lookup(tree, path):
            section, name = found
            check(section.pop(name), annotation | None, path)
            notes.append(f"{path} has no effect: {reason}")
    for path, reason in ALWAYS_ON.items():
        if (found := _lookup(tree, path)) and found[0][found[1]] is False:
            notes.append(f"{path}: False has no effect: {reason}")
    train = _lookup(tree, "Loss.Train")
    entries = train[0]["Train"] if train else None
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        for name, params in entry.items() if isinstance(entry, dict) else ():
            if isinstance(params, dict) and "model_parallel" in params:
                key = f"Loss.Train.{index}.{name}.model_parallel"
                check(params.pop("model_parallel"), bool, key)
                notes.append(f"{key} has no effect: the head decides")
    return notes
