"""The rules that hold the package together, read from its source with `ast`.

Who may import whom, what only one place may touch, and what appears nowhere.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

PACKAGE = ROOT / "plsc"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in SOURCES]

# What describes a run: it knows nothing of what runs.
DESCRIPTION = {
    "errors", "schema", "registry", "component", "yaml_tree", "sections", "compatibility", "config",
}  # fmt: skip
REGISTERED = {"errors", "schema", "registry"}  # what a file needs to enter a builder
# Part of plsc -> parts that it may import beside itself. A part is a module or a package of plsc.
MAY_IMPORT = {
    "__init__": set(),
    **dict.fromkeys(DESCRIPTION, DESCRIPTION),
    "runtime": {"errors", "kernels"},
    "mapped_file": {"errors"},
    "pickled_arrays": {"errors"},
    "unpickle": {"errors", "mapped_file", "pickled_arrays"},
    "torch_tensors": {"pickled_arrays"},
    "torch_file": {"errors", "mapped_file", "pickled_arrays", "unpickle", "torch_tensors"},
    "onnx_file": {"__init__", "errors"},
    "onnx_forms": {"errors", "onnx_file", "data"},
    "onnx_operations": set(),
    "onnx_graph": {"errors", "onnx_operations"},
    "supervise": {"errors"},
    "distributed": {"errors", "schema"},
    "metric": REGISTERED,
    "kernels": set(),
    "models": REGISTERED | {"kernels"},
    "scheduler": REGISTERED,
    "optimizer": REGISTERED | {"distributed", "kernels"},
    "loss": REGISTERED | {"distributed"},
    "heads": REGISTERED | {"distributed", "loss"},
    "data": REGISTERED | {"component", "mapped_file", "unpickle"},
    "plan": DESCRIPTION | {"models"},
    "export_report": set(),
    "export": {"__init__", "errors", "onnx_file", "onnx_forms", "export_report", "yaml_tree"}
    | {"data"},
    "report": {"__init__", "errors", "metric", "data"},
    "inference": {"errors", "registry", "runtime", "yaml_tree", "onnx_file"}
    | {"metric", "data", "engine"},
    "embedder": {"errors", "inference"},
    "commands": {"errors", "yaml_tree", "metric", "data", "report", "inference", "embedder"},
    "ijb": {"errors", "metric", "data", "embedder", "commands"},
    "quality": {"errors", "metric", "data", "report", "inference", "embedder", "commands"},
    "engine": DESCRIPTION
    | {"__init__", "runtime", "unpickle", "distributed", "metric", "models", "scheduler"}
    | {"optimizer", "loss", "heads", "plan", "kernels", "data", "report", "export"}
    | {"mapped_file", "torch_file", "torch_tensors", "onnx_file", "onnx_graph", "onnx_operations"},
    "doctor": {"__init__", "errors", "runtime", "distributed", "engine"},
    "cli": DESCRIPTION
    | {"__init__", "runtime", "distributed", "supervise", "data"}
    | {"commands", "report", "engine"},
    "__main__": {"cli"},
}
# Parts that run where paddle is not installed, or before it may be imported.
WITHOUT_PADDLE = DESCRIPTION | {
    "__init__", "__main__", "mapped_file", "pickled_arrays", "unpickle", "onnx_file", "onnx_forms",
    "supervise", "torch_tensors", "torch_file", "onnx_operations", "onnx_graph",
    "metric", "scheduler", "data", "report", "embedder", "commands", "ijb",
    "quality",
}  # fmt: skip
HEAVY = {"paddle", "numpy", "cv2", "scipy", "yaml", "safetensors", "tqdm", "onnx", "onnxruntime"}
PRIVATE_PADDLE = {"base", "fluid", "framework", "libpaddle", "core", "pir", "incubate"}


def part_of(path: Path) -> str:
    """`heads` for plsc/recognition/heads/centres.py, `cli` for plsc/cli/train.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> set[str]:
    """Every dotted name that an import in `tree` binds or reaches through."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(node: ast.AST) -> str:
    """`a.b.c` for that attribute of a name; "" for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def loader_of(call: ast.Call) -> str:
    """The loader that a call of yaml.load names."""
    named = [word.value for word in call.keywords if word.arg == "Loader"]
    return dotted([*call.args[1:], *named, call.func][0])


def reached(tree: ast.AST) -> set[str]:
    """Imported names, and names that are reached as attributes of imported ones, in full."""
    full = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                full[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            full |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    names = imported(tree)
    for node in ast.walk(tree):
        first, _, rest = dotted(node).partition(".")
        if rest and first in full:
            names.add(f"{full[first]}.{rest}")
    return names


def below(names: set[str], *packages: str) -> set[str]:
    """The `names` that are or lie in one of `packages`."""
    return {name for name in names for top in packages if f"{name}.".startswith(f"{top}.")}


def parts_imported(tree: ast.AST) -> set[str]:
    """Parts of plsc that `tree` imports; `from plsc import __version__` is of `__init__`."""
    parts = {name.split(".")[1] for name in below(imported(tree), "plsc") if "." in name}
    return {part if part in MAY_IMPORT else "__init__" for part in parts}


def private_paddle(tree: ast.AST) -> set[str]:
    """Paddle's own insides, by full name, and underscored attributes of objects not one's own."""
    found = set()
    for name in below(reached(tree), "paddle"):
        parts = name.split(".")[1:]
        underscored = any(re.match(r"_(?!_)", part) for part in parts)
        if underscored or (parts and parts[0] in PRIVATE_PADDLE):
            found.add(name)
    return found


def foreign_privates(tree: ast.AST) -> set[str]:
    """`x._y` where x is neither `self` nor `cls`: another object's inside, paddle's included."""
    return {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.match(r"_(?!_)", node.attr)
        and ast.unparse(node.value) not in ("self", "cls")
    }


def code_from_data(tree: ast.AST) -> set[str]:
    """Calls that can turn data into code: eval, exec, unrestricted unpickling and YAML."""
    unsafe = {"pickle.load", "pickle.loads", "paddle.load", "marshal.loads", "shelve.open"}
    unsafe |= {"yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "builtins.eval"}
    found = unsafe & reached(tree)
    safe = {"yaml.SafeLoader"} | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and "yaml.SafeLoader" in map(dotted, node.bases)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "__import__"}:
            found.add(node.func.id)
        if any(word.arg == "allow_pickle" for word in node.keywords):
            found.add("allow_pickle")
        if dotted(node.func) == "yaml.load" and loader_of(node) not in safe:
            found.add("yaml.load")
    return found


def effects(tree: ast.Module) -> list[str]:
    """Statements that do something when the module is imported, besides defining names."""
    allowed = (
        ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.FunctionDef,
        ast.ClassDef, ast.Try, ast.If,
    )  # fmt: skip
    return [
        ast.unparse(node)
        for node in tree.body
        if not isinstance(node, allowed)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def swallowed(tree: ast.AST) -> list[str]:
    """Handlers that catch everything and go on as if nothing had happened."""
    everything = {"", "Exception", "BaseException"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            if caught in everything and all(isinstance(line, ast.Pass) for line in node.body):
                found.append(ast.unparse(node))
        if isinstance(node, ast.Call) and dotted(node.func) == "contextlib.suppress":
            found += [ast.unparse(node) for arg in node.args if ast.unparse(arg) in everything]
    return found


def modules_after(statement: str) -> set[str]:
    """Top-level packages that a new interpreter has loaded after `statement`."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_every_part_is_placed():
    """A new module or package says here what it may import."""
    assert {part_of(path) for path in SOURCES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_dependency_direction(path):
    part = part_of(path)
    assert parts_imported(tree_of(path)) <= MAY_IMPORT[part] | {part}


def test_the_direction_has_no_circle():
    order, left = [], {part: set(parts) - {part} for part, parts in MAY_IMPORT.items()}
    for part in DESCRIPTION:
        left[part] = set()  # one group, which only its own members are below
    while left:
        ready = {part for part, needed in left.items() if needed <= set(order)}
        assert ready, f"a circle among {sorted(left)}"
        order += sorted(ready)
        left = {part: needed for part, needed in left.items() if part not in ready}


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_one_place_for_each_subsystem(path):
    names, file = reached(tree_of(path)), str(path.relative_to(PACKAGE))
    if part_of(path) != "distributed":
        assert not below(names, "paddle.distributed", "paddle.DataParallel")
    if file != "engine/precision.py":
        assert not below(names, "paddle.amp")
    if part_of(path) in WITHOUT_PADDLE:
        assert not below(names, "paddle")
    if part_of(path) == "supervise":
        assert not below(names, *HEAVY)
    if file != "distributed/world.py":
        assert not re.search(r"environ\W+(get\()?\W*PADDLE_", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_what_appears_nowhere(path):
    tree = tree_of(path)
    assert not private_paddle(tree)
    assert foreign_privates(tree) <= {"os._exit"}
    assert not code_from_data(tree)
    assert not effects(tree) or path.name == "yaml_tree.py"  # fills its own loader's tables
    assert not swallowed(tree)
    assert ast.get_docstring(tree), "a module says what it is"


def test_no_path_of_somebodys_machine():
    places = [PACKAGE, *(ROOT / name for name in ("configs", "tasks", "tests", "tools", ".ci"))]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    home = re.compile(rb"(?<![\w.])/(home|root|Users|work|mnt|data)/\w")
    text = (".py", ".md", ".yaml", ".yml", ".txt", ".toml", ".json", "", ".cfg")
    found = [path for path in files if path.suffix in text and home.search(path.read_bytes())]
    assert not found


def test_imports_stay_light():
    assert not HEAVY & modules_after("import plsc")
    assert not {"paddle", "numpy", "cv2"} & modules_after(
        "import plsc.cli.train, plsc.cli.evaluate, plsc.cli.export, plsc.__main__"
    )
    assert not {"paddle", "numpy", "cv2"} & modules_after("import plsc.cli.doctor")
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


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (parts_imported, "from plsc.engine import run"),
        (parts_imported, "def f():\n    import plsc.engine.run as r"),
        (private_paddle, "import paddle\npaddle.base.core.x()"),
        (private_paddle, "from paddle import _C_ops"),
        (private_paddle, "from paddle.base import core"),
        (private_paddle, "from paddle import nn\nnn.functional._helper(1)"),
        (foreign_privates, "def f(tensor):\n    return tensor._grad_ivar()"),
        (code_from_data, "eval('1')"),
        (code_from_data, "import pickle as p\np.loads(b'')"),
        (code_from_data, "from pickle import load"),
        (code_from_data, "import numpy as np\nnp.load('x', allow_pickle=True)"),
        (code_from_data, "import yaml\nyaml.load(text, yaml.Loader)"),
        (effects, "print('imported')"),
        (effects, "for name in names:\n    pass"),
        (swallowed, "try:\n    f()\nexcept Exception:\n    pass"),
        (swallowed, "import contextlib\nwith contextlib.suppress(Exception):\n    f()"),
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
