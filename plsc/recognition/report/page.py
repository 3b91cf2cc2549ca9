"""One page of HTML about a model: whole in itself, without scripts, nothing from elsewhere."""

import os
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from plsc.errors import UserError
from plsc.files.atomic import write_output
from plsc.recognition.metrics.roc import far_name
from plsc.recognition.metrics.tables import (
    PROTOCOLS,
    about,
    by_protocol,
    set_rows,
    summary_rows,
    threshold_rows,
)
from plsc.recognition.metrics.verification import VerificationReport
from plsc.recognition.report.evaluation import CAUTION, MeasuredSet, ModelCard
from plsc.recognition.report.pictures import hardest_pairs
from plsc.recognition.report.plots import roc_plot, score_plot
from plsc.report.figures import require_matplotlib
from plsc.report.html import render

PAGE = "index.html"
MOST_PAIRS = 8  # of each kind
HARDEST = (
    (
        True,
        "One person, lowest scores",
        "Pairs said to be of one person that look least alike to the model; wrong labels show "
        "here.",
    ),
    (
        False,
        "Two people, highest scores",
        "Pairs said to be of two people that look most alike to the model.",
    ),
)


def require_page(folder: str | Path) -> None:
    """Refuse a page that could not be made, before the work that fills it.

    Raises:
        UserError: matplotlib is missing, or `folder` is no folder, cannot be made or written.

    """
    require_matplotlib("--report")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--report {folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"--report {folder}: no permission to write there")


def write_page(folder: str | Path, card: ModelCard, sets: Sequence[MeasuredSet]) -> Path:
    """Write `<folder>/index.html`, or replace it whole; return the page's path.

    Raises:
        UserError: the system refuses to write, or an image cannot be read.

    """
    content = page(card, sets).encode("utf-8", errors="backslashreplace")
    path = Path(folder) / PAGE
    write_output(path, content)
    return path


def page(card: ModelCard, sets: Sequence[MeasuredSet]) -> str:
    """Return the page as text."""
    return render(
        __package__,
        "verification.html.j2",
        title=f"{Path(card.path).name or card.path}: verification",
        command="plsc-eval",
        card=_card(card),
        tables=_tables([measured.report for measured in sets]),
        sets=list(map(_section, sets)),
        caution=CAUTION,
    )


def _card(card: ModelCard) -> list[tuple[str, Sequence[str]]]:
    width, height = card.size
    rows: list[tuple[str, Sequence[str]]] = [
        ("Model", [card.path]),
        ("Kind", [f"{card.kind}, embeddings of {card.dim}"]),
        ("Images", [f"{width}×{height} pixels, {card.colour_order}"]),
        ("Pixels", [f"(pixel − {_values(card.mean)}) ÷ {_values(card.std)}, from 0 to 255"]),
    ]
    if card.notes:
        rows.append(("Known from", card.notes))
    if card.digest:
        rows.append(("Digest", [card.digest[:16]]))
    return rows


def _values(values: tuple[float, ...]) -> str:
    shown = [f"{value:g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"[{' '.join(shown)}]"


def _tables(reports: Sequence[VerificationReport]) -> list[dict[str, Any]]:
    """Return a table for each protocol; a row that has no number is a mean."""
    numbers = {report: number for number, report in enumerate(reports, 1)}
    tables = []
    for protocol, part in by_protocol(reports).items():
        head, *rows = set_rows(part)
        numbered = zip_longest([numbers[report] for report in part], rows)
        named = [(number, name, cells) for number, (name, *cells) in numbered]
        tables.append({"head": head, "rows": named, "protocol": PROTOCOLS[protocol]})
    return tables


def _section(measured: MeasuredSet) -> dict[str, Any]:
    report = measured.report
    head, *rows = threshold_rows(report)
    return {
        "name": report.name,
        "about": about(report),
        "summary": summary_rows(report),
        "plots": [
            {
                "uri": roc_plot(report),
                "words": _roc_in_words(report),
                "caption": _roc_caption(report),
            },
            {
                "uri": score_plot(report),
                "words": _scores_in_words(report),
                "caption": "Scores of the pairs, and the thresholds.",
            },
        ],
        "head": head,
        # A row longer than the head is unresolved: its last cell, a remark, replaces the figures.
        "thresholds": [(row[0], row[1 : len(head)], "".join(row[len(head) :])) for row in rows],
        "hardest": [
            (
                title,
                words,
                hardest_pairs(report, measured.images, same=same, most=MOST_PAIRS),
            )
            for same, title, words in HARDEST
        ],
    }


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _roc_caption(report: VerificationReport) -> str:
    if all(point.resolved for point in report.points):
        return "ROC."
    return "ROC. Grey: where there are too few impostor pairs to tell."


def _roc_in_words(report: VerificationReport) -> str:
    points = [
        f"{_percent(point.tar)} % at FAR {far_name(point.far)}"
        for point in report.points
        if point.tar is not None
    ]
    return f"ROC curve of {report.name}: TAR {', '.join(points) or 'not resolved at any FAR'}"


def _scores_in_words(report: VerificationReport) -> str:
    same, different = report.scores[report.issame], report.scores[~report.issame]
    return (
        f"Histograms of the cosines of {report.name}: pairs of one person {same.mean():.2f} on "
        f"average, of two people {different.mean():.2f}"
    )
