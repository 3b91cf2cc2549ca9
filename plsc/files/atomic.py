"""Files and folders that appear whole or not at all: written beside, synced, renamed.

`replacing` and `write_text` are for files that a run keeps for itself: one process writes each, the
name beside is fixed, and errors are the system's. `output_file`, `new_folder` and
`write_output` are for what a user has named: several processes may write it at once, and errors are
one line. The supervisor uses this module, so it imports nothing heavy.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plsc.errors import UserError


def require_writable(path: str | Path) -> None:
    """Refuse a file that could not be written, before the work that fills it.

    Raises:
        UserError: its folder is missing or closed to this user, or it is there and no regular
            file: a folder, a device or a pipe, which a renamed file would replace.

    """
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UserError(f"{path}: cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written: no permission for {folder}")
    if Path(path).is_dir():
        raise UserError(f"{path}: cannot be written: it is a folder")
    _require_replaceable(path)


def _require_replaceable(path: str | Path) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{path}: cannot be written: it is there, and no regular file")


def make_folder(path: Path) -> None:
    """Make a folder with all above it, where it is not there already.

    Raises:
        UserError: the system refuses: no permission, a file above, a name that is too long.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: the folder cannot be made: {reason}") from error


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    if os.name == "nt" and os.path.isdir(path):
        return  # Windows opens no folders, and writes their names itself
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(written: Path, path: Path) -> None:
    """Give `written` the name `path` once its content is on the disk.

    Raises:
        OSError: the system refuses.

    """
    sync(written)
    os.replace(written, path)


@contextmanager
def replacing(path: Path, *, partial: Path | None = None, synced: bool = True) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` when the `with` block ends well.

    A kill leaves it behind, and the next writer replaces it; any other end removes it.

    Args:
        path: what appears.
        partial: what is written, on the same disk; `.<name>.partial` beside it if None.
        synced: the content is on the disk before it has its name. Without, a crash of the machine
            may leave an empty file.

    Raises:
        OSError: the system refuses.

    """
    partial = partial or path.with_name(f".{path.name}.partial")
    try:
        yield partial
        if synced:
            sync(partial)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):  # it may never have been made
            partial.unlink()
        raise


def write_text(
    path: Path,
    text: str,
    *,
    partial: Path | None = None,
    synced: bool = True,
    errors: str = "strict",
) -> None:
    """Write `text` as UTF-8; arguments and errors as for `replacing`, `errors` as for `open`."""
    with replacing(path, partial=partial, synced=synced) as beside:
        beside.write_text(text, encoding="utf-8", errors=errors)


def write_output(path: str | Path, content: str | bytes) -> None:
    """Write a file that a user has named; text as UTF-8.

    Raises:
        UserError: the system refuses to write.

    """
    with output_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def output_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` when the `with` block ends well.

    It keeps the ending of `path`; a link stays one. A kill leaves it behind; any other end removes
    it.

    Raises:
        UserError: the system refuses to write, or `path` is there and no regular file.

    """
    _require_replaceable(path)
    target = Path(os.path.realpath(path))
    partial = target.with_name(f"{target.stem}.partial-{secrets.token_hex(4)}{target.suffix}")
    try:
        with replacing(target, partial=partial):
            yield partial
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Give a new folder to fill, which becomes `path` when the `with` block ends well.

    Until then it is called `<path>.partial-<random>`, which a kill leaves behind; any other end
    removes it. Where `path` is a link, both lie where that leads.

    Raises:
        UserError: `path` exists and is not an empty folder that can be replaced, or the system
            refuses to write.

    """
    target = Path(os.path.realpath(path))
    try:
        if os.listdir(target):
            raise UserError(f"{path}: exists and is not an empty folder; remove it or name another")
        if os.path.ismount(target):
            raise UserError(f"{path}: is a mount point, which stays: name a new folder in it")
    except FileNotFoundError:
        pass  # as it should be
    except NotADirectoryError as error:
        raise UserError(f"{path}: cannot be made: {_file_in_the_way(target)} is a file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be made: {error.strerror}") from error
    partial = target.with_name(f"{target.name}.partial-{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        yield partial
        if hasattr(os, "sync"):  # not on Windows
            os.sync()  # contents before the name; fsync on each of millions of files takes hours
        os.replace(partial, target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            place = f"{error.filename}: " if error.filename else ""
            raise UserError(f"{path}: cannot be made: {place}{error.strerror}") from error
        raise


def _file_in_the_way(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if os.path.exists(place))
