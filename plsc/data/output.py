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
    removes it.

    Raises:
        UserError: `path` exists and is not an empty folder, or the system refuses to write.

    """
    target = Path(os.path.abspath(path))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{path}: exists and is not an empty folder; remove it or name another")
    partial = target.with_name(f"{target.name}.partial-{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        yield partial
        os.sync()  # contents before the name; fsync on each of millions of files takes hours
        os.replace(partial, target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            reason = f"{error.filename or path}: {error.strerror}"
            raise UserError(f"{path}: cannot be made: {reason}") from error
        raise


def progress_bar(total: int, unit: str) -> tqdm:
    """A bar on standard error; a line now and then where that is no terminal."""
    seconds = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, unit=f" {unit}", mininterval=seconds)


def exit_status(command: str, work: Callable[[], int | None]) -> int:
    """What `work` returns, or 0; 2 after one line on standard error that says what to mend.

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
        # What is left in the buffer would fail once more at the end of the program.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status


def available_cores() -> int:
    """How many cores this process may use: the default of `--workers`."""
    return len(os.sched_getaffinity(0))
