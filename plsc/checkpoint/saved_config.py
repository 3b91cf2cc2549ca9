"""The config in a checkpoint's state. The plug-ins that it names are never imported from there."""

import copy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plsc.checkpoint.folder import STATE, Checkpoint
from plsc.config.load import parse_config
from plsc.config.plugins import is_module_name
from plsc.config.registry import UnknownPart
from plsc.config.sections import Config
from plsc.errors import UserError


def config_of(state: Mapping[str, Any], source: str) -> Config | None:
    """Return the config in a checkpoint's state; None where it has none.

    Raises:
        UnknownPart: its task is not registered.
        UserError: it cannot be read; `source` names the checkpoint in messages.

    """
    tree = state.get("config")
    if not isinstance(tree, dict):
        return None
    where = f"{source}: the config in its state.json"
    try:
        return parse_config(copy.deepcopy(tree))
    except UnknownPart as error:
        raise UnknownPart(f"{where}: {error}", error.what) from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def unknown_in_checkpoint(
    error: UnknownPart, path: str | None, remedy: Callable[[list[str]], str]
) -> UserError:
    """Return what to say of a part that is not registered; `error` where no plug-in is missing.

    Args:
        error: from looking for a part that the checkpoint was written with.
        path: of the checkpoint; there need not be one.
        remedy: the plug-ins' names -> the option that names them.

    """
    if path is None or not (Path(path) / STATE).is_file():
        return error
    names = plugins_named_in(Checkpoint(Path(path)).state)
    if all(name in sys.modules for name in names):
        return error
    plural = len(names) > 1
    return UserError(
        f"{path}: there is no {error.what} here: the checkpoint was written with "
        f"plug-in{'s' if plural else ''} {', '.join(names)}: name {'them' if plural else 'it'} "
        f"with {remedy(names)}"
    )


def plugins_named_in(state: Mapping[str, Any]) -> list[str]:
    """Return the plug-ins that the config in a checkpoint's state names."""
    tree = state.get("config")
    section = tree.get("Global") if isinstance(tree, Mapping) else None
    names = section.get("plugins") if isinstance(section, Mapping) else None
    return [name for name in names if is_module_name(name)] if isinstance(names, list) else []
