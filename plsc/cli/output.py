"""What commands that write share: a folder whole or absent, a bar, one-line errors."""

import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from plsc.errors import UserError


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


def progress_bar(total: int, unit: str) -> tqdm:
    """A bar on standard error; a line now and then where that is no terminal."""
    seconds = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, unit=f" {unit}", mininterval=seconds)


def exit_status(command: str, work: Callable[[], int | None]) -> int:
    """What `work` returns, or 0; 2 after one line on standard error that says what to mend.

    That is a `UserError`, or what the system refused: a full disk, a folder without permission.
    130 for Ctrl-C; 141 if nobody reads on what is printed (`| head`).
    """
    try:
        status = work() or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"{command}: error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _let_output_go()
        return 128 + signal.SIGPIPE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"{command}: error: {place}{error.strerror or error}", file=sys.stderr, flush=True)
        _let_output_go()
        return 2
    return status


def _let_output_go() -> None:
    """What is left in the buffer would fail once more at the end of the program."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def available_cores() -> int:
    """How many cores this process may use: the default of `--workers`."""
    return len(os.sched_getaffinity(0))
