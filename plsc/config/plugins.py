"""Plug-ins: modules of the user's that register parts, imported because the user names them.

A config that lies in a checkpoint names them too. Those are never imported, or whoever made a
checkpoint would choose what code runs here: see plsc/checkpoint/saved_config.py.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from plsc.config.registry import REGISTRIES, is_below
from plsc.errors import UserError, first_line


def import_plugins(modules: Sequence[str], key: str = "Global.plugins") -> list[str]:
    """Import `modules`, from the current folder too, so that what they register is found.

    The current folder stays on the module path: what a plug-in imports later is found there, in
    worker processes too.

    Args:
        modules: names as an import statement has them.
        key: what names them, for messages.

    Returns:
        A line for each: what it has registered.

    Raises:
        UserError: a module is not there, an error ends it, or it registers a name that is taken.

    """
    importlib.invalidate_caches()  # a plug-in may have been written a moment ago
    folder = os.getcwd()
    if modules and not {folder, ""} & set(sys.path):
        sys.path.insert(0, folder)
    return [_import(module, key) for module in modules]


def is_module_name(name: Any) -> bool:
    """Tell whether `name` is text that an import statement could have."""
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _import(module: str, key: str) -> str:
    if not is_module_name(module) or module.endswith(".py"):
        stem = module.removesuffix(".py").replace("/", ".").strip(".")
        hint = f": {stem}" if is_module_name(stem) else ", such as my_parts"
        raise UserError(
            f"{key}: {module!r} is no name of a module: write it as in an import statement{hint}"
        )
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        _forget(module)
        if isinstance(error, UserError):  # of a registry
            raise UserError(f"{key}: {error}") from error
        if isinstance(error, ModuleNotFoundError) and error.name and is_below(module, error.name):
            raise UserError(
                f"{key}: there is no module {error.name!r}, neither in the current folder "
                f"{os.getcwd()} nor among the installed ones: change to the folder that it is in, "
                "or name that folder in PYTHONPATH"
            ) from None
        said = error.msg if isinstance(error, SyntaxError) else first_line(error)
        raise UserError(
            f"{key}: plug-in {module} cannot be imported: {type(error).__name__}: {said} "
            f"({_place(error, module)})"
        ) from error
    parts = [f"{item.kind} {name}" for item in REGISTRIES for name in item.names_of(module)]
    place = getattr(loaded, "__file__", None) or "a folder without __init__.py"
    return f"plug-in {module} ({place}): {', '.join(parts) or 'registers nothing'}"


def _forget(module: str) -> None:
    """Undo half an import, so that it can be tried again."""
    for registry in REGISTRIES:
        registry.forget(module)
    for name in [name for name in sys.modules if is_below(name, module)]:
        del sys.modules[name]


def _place(error: BaseException, module: str) -> str:
    """Return file and line of `error`: the last line of the plug-in's own that led to it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [item for item in frames if is_below(item[0].f_globals.get("__name__", ""), module)]
    frame, line = (own or frames)[-1]
    return f"{frame.f_code.co_filename}, line {line}"
