"""Serve a `WorkerPool` as one of its processes: fill shared memory and say what lies there."""

import copy
import gc
import math
import mmap
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np

ALIGNMENT = 64
PARENT_CHECK_SECONDS = 5.0  # in case that another process holds the pipe open

NewArray = Callable[[tuple[int, ...], Any], np.ndarray]
"""(shape, dtype) -> an array to be filled."""

Filler = Callable[[Any, NewArray], Any]
"""(task, new) -> note."""

ArrayPlaces = list[tuple[int, str, tuple[int, ...]]]  # of each array: where, dtype, shape


def serve(tasks: Connection, inherited: list[Connection], fill: Filler, memory: mmap.mmap) -> None:
    """Live as a worker, until its pipe or the process that began it ends."""
    parent = os.getppid()
    # Ctrl-C and a launcher's SIGTERM reach the whole group: the parent saves first, then ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.freeze()  # what was inherited (device memory, too) is not ours to free
    cv2.setNumThreads(0)  # its threads did not survive the fork, and the workers fill the cores
    for connection in inherited:
        connection.close()
    while True:
        try:
            while not tasks.poll(PARENT_CHECK_SECONDS):
                if os.getppid() != parent:
                    return
            start, stop, task = tasks.recv()
            _answer(tasks, fill, task, _Slot(memory, start, stop))
        except (EOFError, ConnectionResetError, BrokenPipeError):
            return


class _Slot:
    """The memory of one task's arrays, which lie there one behind the other."""

    def __init__(self, memory: mmap.mmap, start: int, stop: int):
        self._memory, self._start, self._stop = memory, start, stop
        self.layout: ArrayPlaces = []

    def new(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        dtype = np.dtype(dtype)
        num_bytes = math.prod(shape) * dtype.itemsize
        assert self._start + num_bytes <= self._stop, "the arrays are larger than slot_bytes"
        self.layout.append((self._start, dtype.str, shape))
        array = np.ndarray(shape, dtype, self._memory, self._start)
        self._start += -(-num_bytes // ALIGNMENT) * ALIGNMENT
        return array


def _answer(pipe: Connection, fill: Filler, task: Any, slot: _Slot) -> None:
    try:
        note = fill(task, slot.new)
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        try:
            pipe.send(([], None, (copy.copy(error), text)))
        except (pickle.PicklingError, AttributeError, TypeError):  # it cannot travel
            pipe.send(([], None, (RuntimeError(repr(error)), text)))
    else:
        pipe.send((slot.layout, note, None))
