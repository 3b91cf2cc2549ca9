"""Identification 1:N after the IJB protocols: probes are searched in a gallery of templates.

Closed set: whether the mate is among the first k. Open set: how many mates score above a threshold
that few of the searches without a mate reach (TPIR at FPIR). numpy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError

RANKS = (1, 5, 10)
FPIR_TARGETS = (1e-2, 1e-1)
PROBES_AT_ONCE = 1024


@dataclass(frozen=True)
class Identification:
    """The results of searches in one gallery.

    Attributes:
        num_gallery: templates in the gallery.
        num_mated: searches whose person is in the gallery.
        num_nonmated: searches whose person is not.
        rank: k -> share of the mated searches whose mate is among the first k.
        tpir: FPIR -> share of the mated searches whose mate scores above `thresholds[FPIR]`; None
            where there are too few searches without a mate to tell.
        thresholds: FPIR -> cosine that no more than this share of the searches without a mate
            exceeds; None likewise.

    """

    num_gallery: int
    num_mated: int
    num_nonmated: int
    rank: Mapping[int, float]
    tpir: Mapping[float, float | None]
    thresholds: Mapping[float, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON has them."""
        return {
            "num_gallery": self.num_gallery,
            "num_mated": self.num_mated,
            "num_nonmated": self.num_nonmated,
            "rank": {str(k): share for k, share in self.rank.items()},
            "tpir_at_fpir": {str(fpir): share for fpir, share in self.tpir.items()},
            "thresholds": {str(fpir): cosine for fpir, cosine in self.thresholds.items()},
        }


def identification(
    probes: NDArray[np.float32],
    probe_subjects: ArrayLike,
    gallery: NDArray[np.float32],
    gallery_subjects: ArrayLike,
    *,
    ranks: Sequence[int] = RANKS,
    fpirs: Sequence[float] = FPIR_TARGETS,
) -> Identification:
    """Search each probe in the gallery.

    A person's best template counts, and another's that scores as much comes before it.

    Args:
        probes: float32 [p, d], templates of length 1.
        probe_subjects: int [p], whose they are.
        gallery: float32 [g, d], likewise.
        gallery_subjects: int [g], likewise.
        ranks: the k.
        fpirs: false positive identification rates, 0 to 1.

    Raises:
        UserError: the gallery is empty, or has no one of the probes.

    """
    whose, known = np.asarray(probe_subjects), np.asarray(gallery_subjects)
    assert len(whose) == len(probes) and len(known) == len(gallery)
    is_mated = np.isin(whose, known)
    if not is_mated.any():
        raise UserError(
            f"no person of the {len(whose)} probes is among the {len(known)} templates of the "
            "gallery: are the files of one release?"
        )
    mates, places, tops = [], [], []
    for start in range(0, len(probes), PROBES_AT_ONCE):
        part = slice(start, start + PROBES_AT_ONCE)
        cosines = probes[part] @ gallery.T
        own = whose[part, None] == known
        mate = np.where(own, cosines, -np.inf).max(axis=1)
        others = np.where(own, -np.inf, cosines)
        mates.append(mate)
        places.append((others >= mate[:, None]).sum(axis=1) + 1)
        tops.append(others.max(axis=1))
    mate, place = np.concatenate(mates)[is_mated], np.concatenate(places)[is_mated]
    false_alarms = np.sort(np.concatenate(tops)[~is_mated])[::-1]
    thresholds = {float(fpir): _threshold(false_alarms, fpir) for fpir in fpirs}
    return Identification(
        num_gallery=len(known),
        num_mated=len(mate),
        num_nonmated=len(false_alarms),
        rank={int(k): float((place <= k).mean()) for k in ranks},
        tpir={
            fpir: None if threshold is None else float((mate > threshold).mean())
            for fpir, threshold in thresholds.items()
        },
        thresholds=thresholds,
    )


def mean_of(results: Sequence[Identification]) -> Identification:
    """Return the mean of the shares over galleries; None where one of them has no share."""
    first = results[0]
    tpir: dict[float, float | None] = {}
    for fpir in first.tpir:
        shares = [share for one in results if (share := one.tpir[fpir]) is not None]
        tpir[fpir] = float(np.mean(shares)) if len(shares) == len(results) else None
    return Identification(
        num_gallery=sum(one.num_gallery for one in results),
        num_mated=sum(one.num_mated for one in results),
        num_nonmated=sum(one.num_nonmated for one in results),
        rank={k: float(np.mean([one.rank[k] for one in results])) for k in first.rank},
        tpir=tpir,
        thresholds=dict.fromkeys(first.tpir),
    )


def _threshold(false_alarms: NDArray[np.float32], fpir: float) -> float | None:
    """Return what at most `fpir` of `false_alarms` [n, descending] exceed; None if one is more."""
    # 0.1 * 30 is a little more than 3 in binary, 0.07 * 100 too, and 0.29 * 100 a little less.
    allowed = int(np.floor(fpir * len(false_alarms) + 1e-9))
    if not allowed:
        return None
    return float(false_alarms[allowed]) if allowed < len(false_alarms) else -np.inf
