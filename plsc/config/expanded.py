"""Paths as users write them: `~`, `~name` and environment variables stand for what they mean."""

import os
import re

from plsc.errors import UserError

VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


class UnknownName(UserError):
    """A path holds a variable that is not set, or the home of nobody."""


def expand(path: str, key: str = "") -> str:
    """Return the path with `~` and `$NAME` or `${NAME}` expanded; a path that is there stays.

    Args:
        path: of a file or folder, there or not.
        key: where it is written, for messages.

    Raises:
        UnknownName: a variable is not set, or nobody is called so.

    """
    if not (path.startswith("~") or "$" in path) or os.path.lexists(path):
        return path
    where = f"{key}: " if key else ""
    for names in VARIABLE.findall(path):
        if "".join(names) not in os.environ:
            raise UnknownName(
                f"{where}{path}: the environment variable {''.join(names)} is not set"
            )
    found = os.path.expanduser(os.path.expandvars(path))
    if found.startswith("~"):
        raise UnknownName(f"{where}{path}: there is no home folder for {found.split('/')[0]}")
    return found
