"""The package's source as trees of `ast`, and what their imports name."""

import ast
from pathlib import Path

from places import ROOT

PACKAGE = ROOT / "plsc"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in SOURCES]


def module_of(path: Path) -> str:
    """`heads.centres` for plsc/heads/centres.py, `heads` for plsc/heads/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


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
