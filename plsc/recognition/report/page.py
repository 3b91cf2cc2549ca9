"""One page of HTML about a model: whole in itself, without scripts, nothing from elsewhere."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from plsc import __version__
from plsc.errors import UserError
from plsc.files.atomic import write_output
from plsc.recognition.metrics.roc import Threshold, far_name
from plsc.recognition.metrics.tables import (
    PROTOCOLS,
    about,
    by_protocol,
    set_rows,
    summary_rows,
    threshold_rows,
)
from plsc.recognition.metrics.verification import VerificationReport
from plsc.recognition.report.evaluation import CAUTION, Measured, ModelCard
from plsc.recognition.report.pictures import PairPicture, hardest_pairs
from plsc.recognition.report.plots import roc_plot, score_plot
from plsc.report.figures import require_matplotlib
from plsc.report.style import CSS

PAGE = "index.html"
MOST_PAIRS = 8  # of each kind


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


def write_page(folder: str | Path, card: ModelCard, sets: Sequence[Measured]) -> Path:
    """Write `<folder>/index.html`, or replace it whole; the page's path.

    Raises:
        UserError: the system refuses to write, or an image cannot be read.

    """
    content = page(card, sets).encode("utf-8", errors="backslashreplace")
    path = Path(folder) / PAGE
    write_output(path, content)
    return path


def page(card: ModelCard, sets: Sequence[Measured]) -> str:
    """The page as text."""
    name = escape(Path(card.path).name or card.path)
    reports = [measured.report for measured in sets]
    parts = [_section(number, measured) for number, measured in enumerate(sets, 1)]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: verification</title>
<style>{CSS}</style>
</head>
<body>
<main>
<h1>{name}: verification</h1>
{_card(card)}
{_sets(reports)}
{"".join(parts)}
<footer>Made by plsc-eval, plsc {__version__}.</footer>
</main>
</body>
</html>
"""


def _card(card: ModelCard) -> str:
    width, height = card.size
    rows = [
        ("Model", [card.path]),
        ("Kind", [f"{card.kind}, embeddings of {card.dim}"]),
        ("Images", [f"{width}×{height} pixels, {card.colour_order}"]),
        ("Pixels", [f"(pixel − {_values(card.mean)}) ÷ {_values(card.std)}, from 0 to 255"]),
    ]
    if card.notes:
        rows.append(("Known from", list(card.notes)))
    if card.digest:
        rows.append(("Digest", [card.digest[:16]]))
    return _described(rows)


def _described(rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    lines = [
        f"<dt>{escape(name)}</dt>{''.join(f'<dd>{escape(text)}</dd>' for text in texts)}"
        for name, texts in rows
    ]
    return "<dl>\n{}\n</dl>".format("\n".join(lines))


def _values(values: tuple[float, ...]) -> str:
    shown = [f"{value:g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"[{' '.join(shown)}]"


def _sets(reports: Sequence[VerificationReport]) -> str:
    numbers = {report: number for number, report in enumerate(reports, 1)}
    return "\n".join(
        f"{_set_table(part, [numbers[report] for report in part])}\n"
        f'<p class="muted">Accuracy by {escape(PROTOCOLS[protocol])}.</p>'
        for protocol, part in by_protocol(reports).items()
    )


def _set_table(reports: Sequence[VerificationReport], numbers: Sequence[int]) -> str:
    head, *rows = set_rows(reports)
    links = [f'<a href="#set-{number}">{{}}</a>' for number in numbers]
    links += ["{}"] * (len(rows) - len(links))  # the mean
    body = [
        _row([link.format(escape(row[0])), *map(escape, row[1:])], "mean" if link == "{}" else "")
        for link, row in zip(links, rows, strict=True)
    ]
    return _table(head, body, kind="sets")


def _section(number: int, measured: Measured) -> str:
    report = measured.report
    plots = (
        (roc_plot(report), _roc_in_words(report), _roc_caption(report)),
        (score_plot(report), _scores_in_words(report), "Scores of the pairs, and the thresholds."),
    )
    figures = "\n".join(
        f'<figure><img src="{uri}" alt="{escape(words)}"><figcaption>{escape(caption)}'
        "</figcaption></figure>"
        for uri, words, caption in plots
    )
    head, *rows = threshold_rows(report)
    body = [_row(list(map(escape, row)), num_columns=len(head)) for row in rows]
    return f"""
<section id="set-{number}">
<h2>{escape(report.name)}</h2>
<p class="muted">{escape(about(report))}</p>
{_described(summary_rows(report))}
<div class="plots">
{figures}
</div>
<h3>Thresholds</h3>
<p class="caution">{escape(CAUTION)}</p>
{_table(head, body)}
<p class="muted">A pair is of one person where its cosine is at or above the threshold, or its \
squared L2 distance of unit vectors, or its angle, at or below.</p>
{_pairs(measured, same=True)}
{_pairs(measured, same=False)}
</section>
"""


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


def _pairs(measured: Measured, *, same: bool) -> str:
    report = measured.report
    pairs = hardest_pairs(report, measured.images, same=same, most=MOST_PAIRS)
    title, words = (
        ("One person, lowest scores", "Pairs said to be of one person that look least alike to "
         "the model; wrong labels show here.")
        if same
        else ("Two people, highest scores", "Pairs said to be of two people that look most alike "
              "to the model.")
    )  # fmt: skip
    shown = "\n".join(_pair(pair, same) for pair in pairs)
    return f'<h3>{title}</h3>\n<p class="muted">{words}</p>\n<div class="pairs">\n{shown}\n</div>'


def _pair(pair: PairPicture, same: bool) -> str:
    images = "".join(
        f'<img src="{uri}" alt="{escape(f"{side} image of pair {pair.number}: {place}")}" '
        f'title="{escape(place)}">'
        for side, uri, place in zip(("left", "right"), pair.images, pair.places, strict=True)
    )
    angle = Threshold(pair.score).angle
    return (
        f"<figure><div>{images}</div><figcaption><b>{pair.score:.4f}</b> · {angle:.0f}° · "
        f"pair {pair.number}</figcaption></figure>"
    )


def _table(head: Sequence[str], body: Sequence[str], kind: str = "") -> str:
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    rows = "\n".join(body)
    return f"""<div class="wide {kind}"><table>
<thead><tr>{cells}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>"""


def _row(cells: Sequence[str], kind: str = "", num_columns: int = 0) -> str:
    """A row of escaped cells; the first names it. A cell too many is a remark in their place."""
    named = f' class="{kind}"' if kind else ""
    rest = "".join(f"<td>{cell}</td>" for cell in cells[1:])
    if num_columns and len(cells) > num_columns:
        rest = f'<td class="remark" colspan="{num_columns - 1}">not resolved: {cells[-1]}</td>'
    return f'<tr{named}><th scope="row">{cells[0]}</th>{rest}</tr>'
