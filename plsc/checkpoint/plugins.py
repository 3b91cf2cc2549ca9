"""What a checkpoint says of the plug-ins that it was written with; none is imported from there."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plsc.checkpoint.folder import STATE, Checkpoint
from plsc.config.plugins import is_module_name
from plsc.config.registry import UnknownPart
from plsc.errors import UserError


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
