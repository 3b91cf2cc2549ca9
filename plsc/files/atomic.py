"""Files and folders that appear whole or not at all."""

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
        UserError: its folder is missing or closed to this user, or it is a folder itself.

    """
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UserError(f"{path}: cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written: no permission for {folder}")
    if Path(path).is_dir():
        raise UserError(f"{path}: cannot be written: it is a folder")


@contextmanager
def finished_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the `with` block ends well.

    It keeps the ending of `path`. A kill leaves it behind; any other end removes it.

    Raises:
        UserError: the system refuses to write.

    """
    target = Path(path)
    partial = target.with_name(f"{target.stem}.partial-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # most often it has its name by now, or never was
            partial.unlink()


@contextmanager
def finished_folder(path: str | Path) -> Iterator[Path]:
    """A new folder to fill, which becomes `path` when the `with` block ends well.

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
