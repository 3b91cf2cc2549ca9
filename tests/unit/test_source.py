"""What appears nowhere in the package, read from its source with `ast`."""

import ast
import re

import pytest
from package_source import IDS, PACKAGE, SOURCES, below, dotted, reached, tree_of
from places import ROOT

PRIVATE_PADDLE = {"base", "fluid", "framework", "libpaddle", "core", "pir", "incubate"}


def loader_of(call: ast.Call) -> str:
    """The loader that a call of yaml.load names."""
    named = [word.value for word in call.keywords if word.arg == "Loader"]
    return dotted([*call.args[1:], *named, call.func][0])


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
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    home = re.compile(rb"(?<![\w.])/(home|root|Users|work|mnt|data)/\w")
    text = (".py", ".md", ".yaml", ".yml", ".txt", ".toml", ".json", "", ".cfg")
    found = [path for path in files if path.suffix in text and home.search(path.read_bytes())]
    assert not found


@pytest.mark.parametrize(
    ("check", "source"),
    [
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
