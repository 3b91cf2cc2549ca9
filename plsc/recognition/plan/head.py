"""Compute memory and communication of the head's step. Its constants stand here only."""

import math
from dataclasses import dataclass

from plsc.recognition.sections import PfcConfig

FLOAT = 4  # bytes; not from where paddle is imported: tools read the formula without it
LABEL = 8
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
LOGITS = 3 * FLOAT  # for each sample and row, of the arrays that are alive at once


@dataclass(frozen=True)
class HeadMemory:
    """Bytes of one rank's head.

    Attributes:
        sampled: number of rows used in a step.
        stored: class centres.
        state: their optimizer state.
        taken: copies of the rows in use.
        gradient: of the rows in use.
        logits: cosines, logits, probabilities and their gradients, a kept factor among them.
        ahead: rows of the next step, and the optimizer state of this one's, that came with them:
            as stored, in the host's memory.

    """

    sampled: int
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


def head_memory(
    pfc: PfcConfig,
    *,
    classes: int,
    dim: int,
    ranks: int,
    samples: int,
    states: int,
    parts: int = 1,
    storage: str = "device",
) -> HeadMemory:
    """Return the bytes of the head at its fullest moment, of the rank with most classes.

    The rows' gradient exists as factors while there are fewer samples than dimensions.

    Args:
        pfc: how rows are sampled and stored.
        classes: of all ranks.
        dim: of the features.
        ranks: that share the classes.
        samples: of the global batch (one micro-batch of it).
        states: tensors of optimizer state.
        parts: micro-batches of a step, whose factors are kept side by side.
        storage: where the rows are; `device` for host memory that is the device's.

    """
    local = math.ceil(classes / ranks)
    sampled = max(1, int(largest_ratio(pfc) * local))
    whole, rows, kept = local * dim * BYTES[pfc.dtype], sampled * dim, samples * parts
    every, away = sampled == local, storage != "device"
    copied = away or not every or pfc.dtype != "float32"
    return HeadMemory(
        sampled=sampled,
        stored=whole,
        state=whole * states,
        taken=rows * FLOAT if copied else 0,
        gradient=(kept * (sampled + dim) if kept <= dim else rows) * FLOAT,
        logits=samples * sampled * LOGITS,
        ahead=rows * BYTES[pfc.dtype] * (1 + 2 * states) if away and not every else 0,
    )


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
