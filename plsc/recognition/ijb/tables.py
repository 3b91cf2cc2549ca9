"""Results as tables for a terminal, in the look that IJB results have."""

from collections.abc import Mapping, Sequence
from typing import Any

from plsc.recognition.metrics.identification import FPIR_TARGETS, RANKS, Identification
from plsc.recognition.metrics.ijb import NearestPoint

UNRESOLVED = "-"


def boxed(rows: Sequence[Sequence[str]]) -> str:
    """Frame `rows` of equally many cells, the first of them a head; cells are centred."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "+".join(["", *("-" * (width + 2) for width in widths), ""])
    lines = [
        "|".join(["", *(f" {_centred(*cell)} " for cell in zip(row, widths, strict=True)), ""])
        for row in rows
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _centred(text: str, width: int) -> str:
    """Centre `text`; an odd blank goes behind text of odd length, before text of even length."""
    excess = width - len(text)
    before = excess // 2 + (excess % 2 and len(text) % 2 == 0)
    return " " * before + text + " " * (excess - before)


def tpr_table(name: str, points: Sequence[NearestPoint]) -> str:
    """Return a table of TPR in percent at each FPR, one row."""
    head = ["Methods", *(str(point.target) for point in points)]
    return boxed([head, [name, *(_percent(point.tpr) for point in points)]])


def about_templates(report: Mapping[str, Any]) -> str:
    """Return in words what the figures of `report`, as JSON has it, are of."""
    mirrored = "with mirror images" if report["flip"] else "without mirror images"
    detector = "times detector scores" if report["detector_score"] else "no detector scores"
    return f"templates: pooling {report['pooling']}, {mirrored}, {detector}"


def search_table(searches: Mapping[str, Identification]) -> str:
    """Return a table of rank-k and TPIR at FPIR in percent, one row for each gallery."""
    head = ["Gallery", *(f"rank-{k}" for k in RANKS), *(f"FPIR={x:g}" for x in FPIR_TARGETS)]
    rows = [
        [
            name,
            *(_percent(found.rank[k]) for k in RANKS),
            *(_percent(found.tpir[fpir]) for fpir in FPIR_TARGETS),
        ]
        for name, found in searches.items()
    ]
    return boxed([head, *rows])


def _percent(share: float | None) -> str:
    return UNRESOLVED if share is None else f"{share * 100:.2f}"
