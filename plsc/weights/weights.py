"""Weights as a file gives them, in the names and shapes of one of our backbones."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle import nn

from plsc.checkpoint.sharded_files import Piece
from plsc.data.transforms.input_pixels import InputPixels
from plsc.errors import UserError

Head = Callable[[int, int], tuple[int, Iterator[Piece] | None]]
EPSILON = re.compile(r"\bepsilon=([^,\s]+)")


def no_head(start: int, stop: int) -> tuple[int, None]:
    """Return the head of a source without class centres."""
    return 0, None


@dataclass(frozen=True)
class Weights:
    """Weights found at a path.

    Attributes:
        source: the path, for messages.
        backbone: state dict.
        head: (start, stop) -> how many classes the source has, and the centres of those from
            start to stop that it has, as pieces (first class, [n, d]) in order; 0 and None where it
            has no head. Reads when it is called: evaluation and export never do, and heads may be
            many gigabytes.
        notes: what was not taken over as it is, one line each.
        folded_norms: BatchNorms of the backbone whose scale and statistics the file has only
            multiplied into the layer before: right in evaluation, but nothing to train on with.
        verify: raises a UserError unless the backbone, its weights now set, gives what the file
            itself does; returns what it found. None where keys alone decide.
        trained_on: what the network was trained on, where the source tells.
        trained_by: whose network it is, where the source tells.

    """

    source: str
    backbone: dict[str, np.ndarray]
    head: Head = no_head
    notes: tuple[str, ...] = ()
    folded_norms: tuple[str, ...] = ()
    verify: Callable[[nn.Layer], str] | None = None
    trained_on: InputPixels | None = None
    trained_by: str = ""


@dataclass(frozen=True)
class NetworkInFile:
    """A network that a task knows by the weights in a file that keeps no config.

    Attributes:
        network: with its weights, in evaluation mode.
        size: width and height of the images that it takes.
        identity: what was built, as text: weights alone do not say all.
        trained_on: what the network was trained on, where its origin is known.
        said_by: what that is known by, for notes.
        notes: what was built and what was not taken over as it is, one line each.

    """

    network: nn.Layer
    size: tuple[int, int]
    identity: str
    trained_on: InputPixels | None
    said_by: str
    notes: tuple[str, ...]


def whole_head(rows: np.ndarray) -> Head:
    """Return a head of class centres that are in memory."""

    def head(start: int, stop: int) -> tuple[int, Iterator[Piece]]:
        return len(rows), iter([(start, rows[start:stop])])

    return head


def sharded_head(shards: Sequence[Path], read: Callable[[Path], np.ndarray]) -> Head:
    """Return a head of class centres of which each file, in rank order, has the next rows.

    One file at a time is in memory; those that hold what is asked for are read twice.
    """

    def head(start: int, stop: int) -> tuple[int, Iterator[Piece]]:
        ends, dim = [0], None
        for shard in shards:
            rows, width = read(shard).shape
            if dim not in (None, width):
                raise UserError(
                    f"{shard}: its class centres have {width} dimensions, those of the shards "
                    f"before it {dim}"
                )
            ends.append(ends[-1] + rows)
            dim = width
        return ends[-1], pieces(start, stop, ends)

    def pieces(start: int, stop: int, ends: list[int]) -> Iterator[Piece]:
        for shard, first, end in zip(shards, ends, ends[1:], strict=False):
            low, high = max(start, first), min(stop, end)
            if low < high:
                yield low, read(shard)[low - first : high - first]

    return head


def shards_of_ranks(folder: Path, pattern: re.Pattern[str], what: str) -> list[Path]:
    """Return the files whose whole name matches, in the order of the rank that is group 1.

    Raises:
        UserError: a rank between others is missing; the message calls the files `what`.

    """
    found = {
        int(match[1]): path for path in folder.iterdir() if (match := pattern.fullmatch(path.name))
    }
    if sorted(found) != list(range(len(found))):
        raise UserError(f"{what}: shards of ranks {sorted(found)} are there, not all of them")
    return [found[rank] for rank in range(len(found))]


def batch_norms(backbone: nn.Layer) -> dict[str, nn.Layer]:
    """Return every BatchNorm of the backbone by its name."""
    kinds = (nn.BatchNorm1D, nn.BatchNorm2D, nn.SyncBatchNorm)
    return {name: layer for name, layer in backbone.named_sublayers() if isinstance(layer, kinds)}


def epsilon_of(norm: nn.Layer) -> float:
    """Return a normalisation's epsilon, which Paddle shows in the layer's description only."""
    found = EPSILON.search(norm.extra_repr())
    assert found is not None, norm
    return float(found[1])
