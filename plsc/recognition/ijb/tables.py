"""Format results as tables for a terminal, in the usual form of IJB results."""

from collections.abc import Mapping, Sequence
from typing import Any

from plsc.recognition.metrics.identification import FPIR_TARGETS, RANKS, Identification
from plsc.recognition.metrics.ijb import NearestPoint

UNRESOLVED = "-"


def boxed(rows: Sequence[Sequence[str]]) -> str:
    """Return `rows` as a framed table with centred cells; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "+".join(["", *("-" * (width + 2) for width in widths), ""])
    lines = [
        "|".join(["", *(f" {_centred(*cell)} " for cell in zip(row, widths, strict=True)), ""])
        for row in rows
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _centred(text: str, width: int) -> str:
    """Centre `text`; a spare blank goes after text of odd length, before text of even length."""
    excess = width - len(text)
    before = excess // 2 + (excess % 2 and len(text) % 2 == 0)
    return " " * before + text + " " * (excess - before)


def tpr_table(name: str, points: Sequence[NearestPoint]) -> str:
    """Return a one-row table of TPR in percent at each FPR."""
    head = ["Methods", *(str(point.target) for point in points)]
    return boxed([head, [name, *(_percent(point.tpr) for point in points)]])


def about_templates(report: Mapping[str, Any]) -> str:
    """Return one line that says how the templates behind a JSON `report` were pooled."""
    mirrored = "with mirror images" if report["flip"] else "without mirror images"
    detector = "times detector scores" if report["detector_score"] else "no detector scores"
    return f"templates: pooling {report['pooling']}, {mirrored}, {detector}"


def search_table(searches: Mapping[str, Identification]) -> str:
    """Return a table of rank-k and TPIR at FPIR in percent, with one row per gallery."""
    head = ["Gallery", *(f"rank-{k}" for k in RANKS), *(f"FPIR={x:g}" for x in FPIR_TARGETS)]
    rows = [
        [
            name,
            *(_percent(result.rank[k]) for k in RANKS),
            *(_percent(result.tpir[fpir]) for fpir in FPIR_TARGETS),
        ]
        for name, result in searches.items()
    ]
    return boxed([head, *rows])


def _percent(share: float | None) -> str:
    return UNRESOLVED if share is None else f"{share * 100:.2f}"
