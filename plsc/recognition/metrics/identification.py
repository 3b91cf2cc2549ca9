"""Identification 1:N by the IJB protocols: each probe is searched in a gallery of templates.

Closed set: the share of searches whose mate is among the first k (rank-k). Open set: the share of
mates that score above a threshold which few of the searches without a mate exceed (TPIR at FPIR).
numpy only.
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
        num_gallery: number of templates in the gallery.
        num_mated: number of searches for a person who is in the gallery.
        num_nonmated: number of searches for a person who is not.
        rank: k -> share of the mated searches whose mate is among the first k.
        tpir: FPIR -> share of the mated searches whose mate scores above `thresholds[FPIR]`; None
            where too few searches without a mate resolve the rate.
        thresholds: FPIR -> cosine that at most this share of the searches without a mate exceeds;
            None where the rate is not resolved.

    """

    num_gallery: int
    num_mated: int
    num_nonmated: int
    rank: Mapping[int, float]
    tpir: Mapping[float, float | None]
    thresholds: Mapping[float, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the results as a dictionary for JSON."""
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

    A person is ranked by the best of their templates. Another person's template that ties with it
    is ranked before it.

    Args:
        probes: float32 [p, d], templates of length 1.
        probe_subjects: int [p], the subject of each probe.
        gallery: float32 [g, d], templates of length 1.
        gallery_subjects: int [g], the subject of each gallery template.
        ranks: the values of k to report.
        fpirs: false positive identification rates, 0 to 1.

    Raises:
        UserError: the gallery is empty, or holds no subject of the probes.

    """
    probe_ids, gallery_ids = np.asarray(probe_subjects), np.asarray(gallery_subjects)
    assert len(probe_ids) == len(probes) and len(gallery_ids) == len(gallery)
    is_mated = np.isin(probe_ids, gallery_ids)
    if not is_mated.any():
        raise UserError(
            f"no person of the {len(probe_ids)} probes is among the {len(gallery_ids)} templates "
            "of the gallery: are the files of one release?"
        )
    mate_parts, rank_parts, top_parts = [], [], []
    for start in range(0, len(probes), PROBES_AT_ONCE):
        part = slice(start, start + PROBES_AT_ONCE)
        cosines = probes[part] @ gallery.T
        own = probe_ids[part, None] == gallery_ids
        mate = np.where(own, cosines, -np.inf).max(axis=1)
        others = np.where(own, -np.inf, cosines)
        mate_parts.append(mate)
        rank_parts.append((others >= mate[:, None]).sum(axis=1) + 1)
        top_parts.append(others.max(axis=1))
    mate, rank = np.concatenate(mate_parts)[is_mated], np.concatenate(rank_parts)[is_mated]
    false_alarms = np.sort(np.concatenate(top_parts)[~is_mated])[::-1]
    thresholds = {float(fpir): _threshold(false_alarms, fpir) for fpir in fpirs}
    return Identification(
        num_gallery=len(gallery_ids),
        num_mated=len(mate),
        num_nonmated=len(false_alarms),
        rank={int(k): float((rank <= k).mean()) for k in ranks},
        tpir={
            fpir: None if threshold is None else float((mate > threshold).mean())
            for fpir, threshold in thresholds.items()
        },
        thresholds=thresholds,
    )


def mean_of(results: Sequence[Identification]) -> Identification:
    """Return the mean of each share over galleries; None where a gallery has no such share."""
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
    """Return the score that at most a share `fpir` of `false_alarms` [n, descending] exceeds.

    Return None if a single false alarm is already more than that share.
    """
    # 0.1 * 30 is a little more than 3 in binary, 0.07 * 100 too, and 0.29 * 100 a little less.
    allowed = int(np.floor(fpir * len(false_alarms) + 1e-9))
    if not allowed:
        return None
    return float(false_alarms[allowed]) if allowed < len(false_alarms) else -np.inf
