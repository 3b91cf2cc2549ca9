"""A function run ahead of its consumer in forked processes; results come back in order.

Paddle's own DataLoader is not used: it hands on a worker's error inside of a traceback's text, and
passes batches through named files in /dev/shm, which is small in containers. Here workers inherit
the function, and leave their arrays in nameless memory that is shared from the start.
"""

import atexit
import functools
import itertools
import mmap
import multiprocessing
import os
import signal
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from plsc.data.loader.worker import ALIGNMENT, Filler, NewArray, serve
from plsc.errors import UserError

SLOTS = 2  # batches that a worker may be ahead

Function = Callable[[Any], tuple[Sequence[np.ndarray], Any]]


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    unanswered: int = 0


class WorkerTraceback(Exception):
    """The traceback of a worker's error; the cause of the error that is raised here."""


class WorkerPool:
    """Calls `function(task) -> (arrays, note)` for a stream of tasks, in `num_workers` processes.

    Or `fill(task, new) -> note`, where the arrays are those that `new(shape, dtype)` made: they lie
    where the results travel, so that nothing is copied on the way there.

    Processes start with the first `map` (or `start`) and live until `close`, the pool's deletion or
    the end of the program, and no longer than this process, however it ends. Start them before
    large memory is filled: what this process writes to after the fork is held twice.
    """

    def __init__(
        self,
        function: Function | None = None,
        *,
        fill: Filler | None = None,
        num_workers: int,
        slot_bytes: int,
    ):
        """Prepare the pool.

        Args:
            function: what is done; depends on its task alone. `note` is small and picklable.
            fill: the same, for arrays that are filled bit by bit; instead of `function`.
            num_workers: processes; 0 calls the function in this one.
            slot_bytes: the most bytes that the arrays of one task have together.

        """
        if fill is None:
            assert function is not None
            fill = functools.partial(_copied, function)
        self._fill = fill
        self._num_workers = num_workers
        self._slot_bytes = slot_bytes + 8 * ALIGNMENT
        self._workers: list[_Worker] = []
        self._memory: mmap.mmap | None = None
        self._owner = 0
        self._maps = 0
        self._at_exit = _closer(weakref.ref(self))

    def start(self) -> None:
        """Start the processes, if they are not running."""
        if self._workers or not self._num_workers:
            return
        if "fork" not in multiprocessing.get_all_start_methods():
            raise UserError("num_workers: this system cannot fork processes; set it to 0")
        context = multiprocessing.get_context("fork")
        self._memory = mmap.mmap(-1, self._num_workers * SLOTS * self._slot_bytes)
        self._owner = os.getpid()
        # Before multiprocessing's own handler, which would wait for processes that never end.
        atexit.register(self._at_exit)
        for number in range(self._num_workers):
            ours, theirs = context.Pipe()
            inherited = [ours, *(worker.connection for worker in self._workers)]
            process = context.Process(
                target=serve,
                args=(theirs, inherited, self._fill, self._memory),
                name=f"data-worker-{number}",
                daemon=True,
            )
            process.start()
            theirs.close()  # so that the worker's death closes the pipe
            self._workers.append(_Worker(process, ours))

    def map(self, tasks: Iterable[Any]) -> Iterator[tuple[list[np.ndarray], Any]]:
        """Yield results in the order of the tasks; an error of the function is raised in its turn.

        Only the latest map goes on.

        Raises:
            UserError: a process was killed, as where memory is short.
            RuntimeError: a process has died otherwise; says how.

        """
        if not self._num_workers:
            for task in tasks:
                arrays: list[np.ndarray] = []
                note = self._fill(task, functools.partial(_in_this_process, arrays))
                yield arrays, note
            return
        self.start()
        for worker in self._workers:  # of a map that was not followed to its end
            while worker.unanswered:
                _receive(worker)
        self._maps += 1
        this_map, stream = self._maps, iter(tasks)
        places = itertools.product(range(SLOTS), range(self._num_workers))
        pending: deque[tuple[_Worker, int]] = deque()
        for slot, number in places:
            for task in itertools.islice(stream, 1):
                start = (number * SLOTS + slot) * self._slot_bytes
                pending.append((self._workers[number], start))
                self._send(*pending[-1], task)
        while pending:
            worker, start = pending.popleft()
            layout, note, failure = _receive(worker)
            if failure is not None:
                error, text = failure
                raise error from (None if isinstance(error, UserError) else WorkerTraceback(text))
            result = [self._load(*place) for place in layout]
            for task in itertools.islice(stream, 1):
                pending.append((worker, start))
                self._send(worker, start, task)
            yield result, note
            assert this_map == self._maps, "a later map has begun"

    def close(self) -> None:
        """End the processes at once."""
        workers, self._workers, self._memory = self._workers, [], None
        if not workers or self._owner != os.getpid():  # a forked process has its parent's pool
            return
        atexit.unregister(self._at_exit)
        for worker in workers:
            worker.connection.close()
            worker.process.kill()  # it holds nothing that a kill could break
        for worker in workers:
            worker.process.join()
            worker.process.close()

    def __del__(self) -> None:
        self.close()

    def _send(self, worker: _Worker, start: int, task: Any) -> None:
        try:
            worker.connection.send((start, start + self._slot_bytes, task))
        except (BrokenPipeError, ConnectionResetError):
            raise _death(worker) from None
        worker.unanswered += 1

    def _load(self, start: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        assert self._memory is not None
        return np.ndarray(shape, dtype, self._memory, start).copy()


def _closer(pool: "weakref.ref[WorkerPool]") -> Callable[[], None]:
    def close() -> None:
        if (alive := pool()) is not None:
            alive.close()

    return close


def _receive(worker: _Worker) -> Any:
    try:
        answer = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        raise _death(worker) from None
    worker.unanswered -= 1
    return answer


def _death(worker: _Worker) -> UserError | RuntimeError:
    process = worker.process
    process.join(timeout=5)
    died, how = f"{process.name} (process {process.pid}) has died", f"exit code {process.exitcode}"
    if process.exitcode == -signal.SIGKILL:
        return UserError(f"{died}: killed; often memory was short: lower num_workers or batch_size")
    if process.exitcode is not None and process.exitcode < 0:
        how = f"signal {signal.Signals(-process.exitcode).name}"
    return RuntimeError(f"{died}: {how}")


def _copied(function: Function, task: Any, new: NewArray) -> Any:
    arrays, note = function(task)
    for array in arrays:
        new(array.shape, array.dtype)[...] = array
    return note


def _in_this_process(made: list[np.ndarray], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    made.append(np.empty(shape, dtype))
    return made[-1]
