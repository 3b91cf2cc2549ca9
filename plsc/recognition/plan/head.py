"""Compute memory and communication of the head's step. Its constants stand here only."""

import math
from dataclasses import dataclass

from plsc.recognition.sections import PfcConfig

FLOAT = 4  # bytes; not from where paddle is imported: tools read the formula without it
LABEL = 8
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class HeadCosts:
    """What an implementation of the head holds and does in a step.

    The default is plsc's: centres are normalised in the cosines, the gradient of the rows exists as
    factors while there are fewer samples than dimensions, optimizers work on a few rows at a time.

    Attributes:
        logits: arrays of [samples, rows] that are alive at once, in bytes of one element together.
        rows: arrays of [rows, dim] beside the stored ones, in bytes of one element together.
        factors: whether the rows' gradient is kept as [samples, rows] and [samples, dim] where that
            is smaller.
        sampled: bytes of an element of the taken rows, weight and optimizer state together.

    """

    logits: int = 3 * FLOAT
    rows: int = 0
    factors: bool = True
    sampled: int = FLOAT


PLSC = HeadCosts()


@dataclass(frozen=True)
class HeadShape:
    """One rank's head.

    Attributes:
        local: classes it owns, on the rank that owns most.
        sampled: rows used in a step.
        samples: of the global batch (one micro-batch of it).
        dim: of the features.

    """

    local: int
    sampled: int
    samples: int
    dim: int


@dataclass(frozen=True)
class HeadMemory:
    """Bytes of one rank's head.

    Attributes:
        stored: class centres.
        state: their optimizer state.
        taken: copies of the rows in use.
        gradient: of the rows in use.
        logits: cosines, logits, probabilities and their gradients, a kept factor among them.
        ahead: rows of the next step, and the optimizer state of this one's, that came with them:
            as stored, in the host's memory.

    """

    stored: int
    state: int
    taken: int
    gradient: int
    logits: int
    ahead: int


def largest_ratio(pfc: PfcConfig) -> float:
    """Return `sample_ratio`, of a schedule the largest."""
    ratio = pfc.sample_ratio
    return max(share for _, share in ratio) if isinstance(ratio, tuple) else ratio


def head_shape(pfc: PfcConfig, *, classes: int, dim: int, ranks: int, samples: int) -> HeadShape:
    """Return the head of the rank with most classes."""
    local, ratio = math.ceil(classes / ranks), largest_ratio(pfc)
    return HeadShape(local, max(1, int(ratio * local)), samples, dim)


def head_memory(
    head: HeadShape,
    *,
    dtype: str,
    states: int,
    parts: int = 1,
    storage: str = "device",
    sparse_update: bool = True,
    costs: HeadCosts = PLSC,
) -> HeadMemory:
    """Return the bytes of the head at its fullest moment.

    Args:
        head: its shape.
        dtype: of the stored rows.
        states: tensors of optimizer state.
        parts: micro-batches of a step, whose factors are kept side by side.
        storage: where the rows are; `device` for host memory that is the device's.
        sparse_update: whether rows that are not in use stay as they are; else none are read ahead.
        costs: of the implementation.

    """
    whole = head.local * head.dim * BYTES[dtype]
    rows, cosines = head.sampled * head.dim, head.samples * head.sampled
    gradient, samples = rows * FLOAT, head.samples * parts
    if costs.factors and samples <= head.dim:
        gradient = samples * (head.sampled + head.dim) * FLOAT
    every, away = head.sampled == head.local, storage != "device"
    taken = 0 if every and dtype == "float32" and not away else rows * costs.sampled
    taken += rows * costs.rows
    ahead = rows * BYTES[dtype] * (1 + 2 * states) if away and sparse_update and not every else 0
    return HeadMemory(whole, whole * states, taken, gradient, cosines * costs.logits, ahead)


@dataclass(frozen=True)
class StepTraffic:
    """Bytes of one rank and step, as the collectives see them: the size of their result.

    None of it grows with the number of classes.
    """

    features: int
    labels: int
    reductions: int
    feature_gradients: int
    backbone_gradients: int

    @property
    def total(self) -> int:
        """Return all of it."""
        return self.head + self.backbone_gradients

    @property
    def head(self) -> int:
        """Return what the head exchanges."""
        return self.features + self.labels + self.reductions + self.feature_gradients


def step_traffic(
    *, samples: int, parts: int, dim: int, parameters: int, ranks: int, losses: int = 1
) -> StepTraffic:
    """Return what a rank exchanges in a step of `parts` micro-batches of `samples` each.

    plsc/recognition/heads/__init__.py derives it.
    """
    if ranks == 1:
        return StepTraffic(0, 0, 0, 0, 0)
    numbers = samples * parts
    return StepTraffic(
        features=numbers * dim * FLOAT,
        labels=numbers * LABEL,
        reductions=(3 * losses * numbers + 1) * FLOAT,  # one: the norm of the rows' gradient
        feature_gradients=numbers * dim * FLOAT,
        backbone_gradients=parameters * FLOAT,
    )
