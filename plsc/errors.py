"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """A mistake in a config, a file or a command line.

    The message is one line: the thing, its value and the remedy. Commands print it without a
    traceback and exit with status 2; every other exception is a defect of plsc and keeps its
    traceback.
    """


class DamagedFile(UserError):
    """A file of a checkpoint is gone, or not what was written: another checkpoint may serve."""


class Unmeasurable(UserError):
    """A network's outputs tell nothing, as early in training: the set counts as not measured."""


def first_line(error: BaseException) -> str:
    """Return another library's message as one line; the exception's class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
