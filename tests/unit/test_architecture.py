"""The rules that hold the package together, read from its source with `ast`.

Who may import whom, and what only one place may touch. What appears nowhere is in test_source.py.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest
from package_source import (
    IDS,
    PACKAGE,
    SOURCES,
    below,
    imported,
    module_of,
    reached,
    tree_of,
)
from places import ROOT

MODULES = {module_of(path): path for path in SOURCES}

# Part of plsc -> the parts that it may import beside itself. A part is a module at the root, a room
# (a folder), or a folder in a room that has a row of its own, written with a dot. A row that names
# a room does not thereby name the folders in it that have rows.
NOTHING: set[str] = set()
MAY_IMPORT = {
    "__init__": NOTHING,
    "__main__": {"cli"},
    "errors": NOTHING,
    "config": {"errors", "files"},
    "files": {"__init__", "errors"},
    "supervise": {"errors", "files"},
    "nn": {"errors", "config"},
    "distributed": {"errors", "config", "nn"},
    "scheduler": {"errors", "config"},
    "optimizer": {"errors", "config", "distributed", "nn"},
    "data": {"errors", "config", "files"},
    "report": {"__init__", "errors", "files"},
    "datatools": {"errors", "config", "files", "data", "report"},
    "export": {"__init__", "errors", "config", "files", "nn", "data"},
    "checkpoint": {"errors", "config", "files", "distributed"},
    "weights": {"errors", "config", "files", "nn", "data", "checkpoint", "export"},
    "inference": {"errors", "config", "files", "nn", "data", "checkpoint", "weights", "export"},
    "engine": {"__init__", "errors", "config", "files", "nn", "distributed", "scheduler"}
    | {"optimizer", "data", "export", "checkpoint", "weights"},
    "recognition.metrics": {"errors", "config"},
    "recognition.models": {"errors", "config", "nn", "data"},
    "recognition.losses": {"errors", "config", "nn", "distributed"},
    "recognition.sections": {"errors", "config"},
    "recognition.heads": {"errors", "config", "files", "nn", "distributed", "checkpoint"}
    | {"optimizer", "recognition.losses"},
    "recognition.datasets": {"errors", "config", "data"},
    "recognition.plan": {"errors", "config", "nn", "data", "engine"}
    | {"recognition.models", "recognition.sections"},
    "recognition": {"__init__", "errors", "config", "files", "nn", "distributed", "data", "export"}
    | {"checkpoint", "weights", "inference", "engine", "report"}
    | {"recognition.sections", "recognition.metrics", "recognition.models", "recognition.losses"}
    | {"recognition.heads", "recognition.datasets", "recognition.plan"},
    "recognition.ijb": {"errors", "files", "data", "report"}
    | {"recognition", "recognition.metrics"},
    "detection.anchors": NOTHING,
    "detection.models": {"config", "nn", "detection.anchors"},
    "detection.datasets": {"errors", "config", "data"},
    "detection.widerface": {"errors", "files"},
    "detection": {"__init__", "errors", "config", "files", "nn", "distributed", "data", "export"}
    | {"weights", "engine"}
    | {"detection.anchors", "detection.models", "detection.datasets", "detection.widerface"},
    "quality": {"errors", "files", "data", "inference", "report"}
    | {"recognition", "recognition.metrics"},
    "cli": {"__init__", "errors", "config", "files", "supervise", "nn", "distributed", "data"}
    | {"datatools", "inference", "engine", "report", "quality"}
    | {"recognition", "recognition.metrics", "recognition.ijb", "detection.widerface"},
    "data.dataset": {"errors", "files", "nn", "data", "datatools", "cli"},  # commands, fixed paths
}
AT_THE_ROOT = {"__init__", "__main__", "errors"}  # and later `api`
TASKS = {"recognition", "detection", "quality", "gallery", "submission"}
KNOW_NO_TASK = {
    "engine", "checkpoint", "distributed", "data", "export", "inference", "optimizer", "scheduler",
    "nn", "files", "weights", "config", "supervise", "datatools", "report",
}  # fmt: skip
# Work in a thread goes on with the device of the thread that began it; a log line names it.
ASK_FOR_THE_DEVICE = {"nn.device", "checkpoint.sharded_rows", "engine.run"}
COMMANDS = {"cli", "data.dataset"}  # the only users of argparse

# Folders and modules that run where paddle is not installed, or before it may be imported.
WITHOUT_PADDLE = {
    "__init__", "__main__", "errors", "config", "files", "supervise", "scheduler", "data",
    "datatools", "report", "quality", "cli", "export.onnx_forms", "inference",
    "detection.anchors", "detection.datasets", "detection.widerface",
    "recognition.datasets", "recognition.embedder", "recognition.embedding", "recognition.ijb",
    "recognition.set_embedding", "recognition.metrics",
}  # fmt: skip
WITH_PADDLE = {"cli.doctor", "inference.paddle_network"}  # the others of these folders
HEAVY = {"paddle", "numpy", "cv2", "scipy", "yaml", "safetensors", "tqdm", "onnx", "onnxruntime"}


def part_of(module: str) -> str:
    """Return the part that a module is of: `cli` for cli.data.pack."""
    names = module.split(".")
    longer = (".".join(names[:length]) for length in range(len(names), 0, -1))
    return next((name for name in longer if name in MAY_IMPORT), names[0])


def modules_imported(tree: ast.AST) -> set[str]:
    """Return the modules of plsc that `tree` imports, if only for types; `__init__` for plsc."""
    found = set()
    for name in below(imported(tree), "plsc"):
        _, *names = name.split(".")
        while names and ".".join(names) not in MODULES:
            names.pop()
        found.add(".".join(names) or "__init__")
    return found


def forbidden_imports(module: str, tree: ast.AST) -> set[str]:
    """Return what MAY_IMPORT and COMMANDS forbid `tree`, the source of `module`, and it imports."""
    part = part_of(module)
    allowed = MAY_IMPORT[part] | {part}
    found = {name for name in modules_imported(tree) if part_of(name) not in allowed}
    return found | (below(imported(tree), "argparse") if part not in COMMANDS else set())


def reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    """Return all that `start` leads to; `start` itself only if there is a way back."""
    found: set[str] = set()
    ahead = list(edges[start])
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += edges[name]
    return found


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of names in which each leads to all of the group."""
    after = {name: reachable(name, edges) for name in edges}
    groups = {
        frozenset(other for other in after[name] if name in after[other])
        for name in edges
        if name in after[name]
    }
    return sorted(map(set, groups), key=min)


def modules_after(statement: str) -> set[str]:
    """Top-level packages that a new interpreter has loaded after `statement`."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_every_part_is_placed():
    """A new module or room says here what it may import, and no room lies there for nothing."""
    assert {part_of(module) for module in MODULES} == set(MAY_IMPORT)


def test_what_lies_at_the_root():
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules >= AT_THE_ROOT and modules <= AT_THE_ROOT | {"api"}


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_dependency_direction(path):
    module = module_of(path)
    assert forbidden_imports(module, tree_of(path)) == set()


def test_rooms_have_no_circle():
    """Check parts, and whole rooms: a folder with a row of its own is no way around."""
    assert circles(MAY_IMPORT) == []
    rooms: dict[str, set[str]] = {}
    for part, parts in MAY_IMPORT.items():
        if part not in COMMANDS - {"cli"}:  # commands that lie in data/, where they always lay
            room = part.split(".")[0]
            rooms.setdefault(room, set()).update({name.split(".")[0] for name in parts} - {room})
    assert circles(rooms) == []


def test_modules_have_no_circle():
    edges = {module: modules_imported(tree_of(path)) for module, path in MODULES.items()}
    own = {module: names - {module} for module, names in edges.items()}
    assert circles(own) == []


def test_rooms_that_know_no_task():
    """Follow the rules to the end: none of these rooms reaches a task by way of others."""
    for room in KNOW_NO_TASK:
        led_to = {part.split(".")[0] for part in reachable(room, MAY_IMPORT)}
        assert not led_to & (TASKS | {"cli"}), room
    for task, other in (("recognition", "detection"), ("detection", "recognition")):
        parts = [part for part in MAY_IMPORT if part.split(".")[0] == task]
        assert not {name.split(".")[0] for part in parts for name in MAY_IMPORT[part]} & {other}


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_one_place_for_each_subsystem(path):
    names, module = reached(tree_of(path)), module_of(path)
    if part_of(module) != "distributed":
        assert not below(names, "paddle.distributed", "paddle.DataParallel")
    if module != "engine.precision":
        assert not below(names, "paddle.amp")
    if below({module}, *WITHOUT_PADDLE) and module not in WITH_PADDLE:
        assert not below(names, "paddle")
    if part_of(module) == "supervise":
        assert not below(names, *HEAVY)
    if module not in ASK_FOR_THE_DEVICE:
        assert not below(names, "paddle.get_device", "paddle.device.get_device")
    if module != "distributed.world":
        assert not re.search(r"environ\W+(get\()?\W*PADDLE_", path.read_text(encoding="utf-8"))


def test_imports_stay_light():
    assert not HEAVY & modules_after("import plsc")
    assert not {"paddle", "numpy", "cv2"} & modules_after(
        "import plsc.cli.train, plsc.cli.evaluate, plsc.cli.export, plsc.__main__"
    )
    assert not {"paddle", "numpy", "cv2"} & modules_after(
        "import plsc.cli.options, plsc.cli.doctor"
    )
    assert not HEAVY & modules_after("import plsc.supervise.supervisor")
    assert "paddle" not in modules_after("import plsc.recognition.metrics.verification")
    assert "paddle" not in modules_after("import plsc; plsc.Embedder")
    assert "paddle" not in modules_after(
        "import plsc.data.loader.batches, plsc.datatools.drawn_face.render"
    )
    assert "paddle" not in modules_after(
        "import plsc.data.dataset.tools.mx_recordio_2_images, "
        "plsc.data.dataset.tools.lfw_style_bin_dataset_converter, "
        "plsc.data.dataset.tools.render_synthetic_faces"
    )


def forbidden_in_files(tree: ast.AST) -> set[str]:
    return forbidden_imports("files.atomic", tree)


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (modules_imported, "from plsc.engine import run"),
        (modules_imported, "def f():\n    import plsc.engine.run as r"),
        (modules_imported, "from plsc import __version__"),
        (forbidden_in_files, "from plsc.engine.run import train"),
        (forbidden_in_files, "if TYPE_CHECKING:\n    from plsc.engine import run"),
        (forbidden_in_files, "from argparse import Namespace"),
    ],
)
def test_the_rules_see_what_they_forbid(check, source):
    assert check(ast.parse(source))


def test_the_rules_see_through_other_names():
    source = "import paddle as p\nfrom paddle import amp as a\np.distributed.wait()\na.auto_cast()"
    names = reached(ast.parse(source))
    assert "paddle.distributed.wait" in below(names, "paddle.distributed")
    assert below(names, "paddle.amp") == {"paddle.amp", "paddle.amp.auto_cast"}
    assert not below(names, "paddle.dist", "paddle.am")


def test_the_rules_see_circles():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d", "a"}}
    assert circles(edges) == [{"b", "c"}, {"d"}]
    assert reachable("a", edges) == {"b", "c"}
    assert part_of("recognition.heads.centres") == "recognition.heads"
    assert part_of("recognition.embedder") == "recognition"
