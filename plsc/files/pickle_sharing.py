"""Count how much a pickle repeats by reference, before it is loaded.

A tuple of two references to a tuple of two references, and so on, has 2^40 leaves in 400 bytes.
Loading it costs nothing, but Python visits each leaf to compute its hash or its text. Therefore
this module adds up the sizes of all values over the operations and executes none of them.
"""

import mmap
import pickletools
from collections.abc import Iterable

from plsc.errors import UserError

MOST_REPEATED = 1_000_000  # values that references stand for, all together
# What leaves a value without parts, or one whose parts no hash is taken of, see pickled_arrays.py.
PLAIN = {
    item.name
    for item in pickletools.opcodes
    if not item.stack_before and item.stack_after and not item.name.endswith("GET")
} - {"MARK", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"} | {"STACK_GLOBAL", "REDUCE", "BINPERSID"}
FETCH = {"GET", "BINGET", "LONG_BINGET", "DUP"}
STORE = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
WATCHED = {*FETCH, *STORE, "STOP"}
MOST_DIGITS = 18  # of a number in text
INTO = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}  # change what they pop to

Step = tuple[pickletools.OpcodeInfo, int, int]  # operation, where its argument begins and ends


def refuse_repetition(data: bytes | mmap.mmap, steps: Iterable[Step], name: str) -> None:
    """Refuse a pickle whose references stand for more than MOST_REPEATED values.

    Args:
        data: the file.
        steps: all its operations.
        name: of the file, for messages.

    Raises:
        UserError: it is such a file, or takes more from its stack than there is.

    """
    machine = _Sizes()
    try:
        for operation, start, end in steps:
            machine.step(operation, data[start:end])
            if machine.repeated > MOST_REPEATED:
                raise UserError(
                    f"{name}: refused: its references repeat more than {MOST_REPEATED} values"
                )
    except UserError:
        raise  # it is a ValueError as well
    except (LookupError, ValueError) as error:
        raise UserError(f"{name}: not a sound pickle of arrays: its stack is damaged") from error


class SharedParts:
    """Tells a pickle that may repeat values with parts from one that cannot, at little cost.

    Attributes:
        found: whether a reference to something else than text, a number or an array was met.

    """

    def __init__(self) -> None:
        self.found = False
        self._with_parts: set[int] = set()
        self._memoized = 0

    def take(self, name: str, argument: bytes, previous: str) -> int:
        """Take in an operation of WATCHED behind `previous`; return the number it stores, or 0."""
        if name == "MEMOIZE":
            number, self._memoized = self._memoized, self._memoized + 1
        elif name == "DUP":
            self.found = True
            return 0
        else:
            number = _number(name, argument)
        if name in FETCH:
            self.found |= number in self._with_parts or number < 0
            return 0
        if previous not in PLAIN:
            self._with_parts.add(number)
        if name != "MEMOIZE" and self._memoized:
            self.found = True  # both ways to number what is stored: only a full count tells them
        return number


class _Sizes:
    """A pickle machine that knows of each value only how many values it has in it."""

    def __init__(self) -> None:
        self._stack: list[list[int]] = []  # a size may grow where a list is filled: a cell
        self._marks: list[int] = []
        self._memo: dict[int, list[int]] = {}
        self.repeated = 0

    def step(self, operation: pickletools.OpcodeInfo, argument: bytes) -> None:
        name = operation.name
        if name == "MARK":
            self._marks.append(len(self._stack))
        elif name in STORE:
            number = len(self._memo) if name == "MEMOIZE" else _number(name, argument)
            self._memo[number] = self._stack[-1]
        elif name in FETCH:
            cell = self._stack[-1] if name == "DUP" else self._memo[_number(name, argument)]
            self.repeated += cell[0]
            self._stack.append(cell)
        elif name == "POP" and self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._general(operation)

    def _general(self, operation: pickletools.OpcodeInfo) -> None:
        before, after = operation.stack_before, operation.stack_after
        kept = len(before)
        taken = 0
        if pickletools.markobject in before:
            kept = before.index(pickletools.markobject)
            mark = self._marks.pop()
            taken = sum(cell[0] for cell in self._stack[mark:])
            del self._stack[mark:]
        elif operation.name in INTO:
            kept = 1
            taken = sum(self._stack.pop()[0] for _ in range(len(before) - 1))
        if operation.name in INTO:
            self._stack[-1][0] += taken
            return
        for _ in range(kept):
            taken += self._stack.pop()[0]
        self._stack.extend([taken + 1] for _ in after)


def _number(name: str, argument: bytes) -> int:
    if name not in ("GET", "PUT"):
        return int.from_bytes(argument, "little")
    return int(argument) if argument.strip().isdigit() and len(argument) < MOST_DIGITS else -1
