"""ROC curve and score histograms of a verification set, as SVG."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from plsc.recognition.metrics.roc import FARS, OperatingPoint, RocCurve, far_name
from plsc.recognition.metrics.verification import VerificationReport
from plsc.report.figures import DARK, FAINT, SMALL_LETTERS, SVG, drawing, svg_uri

SAME, DIFFERENT = "#2f6fa8", "#d9772b"  # told apart also by those who confuse red and green
SHADE = "#f1f1f1"
SIZE = (4.8, 3.4)  # inches: letters stay readable where a phone shrinks it to its width
MARKS = 7.5  # letters of thresholds
FEWEST_BINS, MOST_BINS = 20, 60
LABEL_GAP = 0.045  # of the axis, between the middles of two upright labels


def roc_plot(report: VerificationReport) -> str:
    """Return the ROC curve and its points as a data URI; grey where impostors are too few."""
    return _drawn(lambda axes: draw_roc(axes, report.curve, report.points))


def score_plot(report: VerificationReport) -> str:
    """Return histograms of both kinds of pairs with the thresholds, as a data URI."""
    return _drawn(lambda axes: draw_scores(axes, report))


def draw_roc(axes: Any, curve: RocCurve, points: Sequence[OperatingPoint]) -> None:
    """Draw TAR over a logarithmic FAR on matplotlib's `axes`."""
    lowest, unresolved = min(FARS), 1 / curve.num_impostors
    far, tar = curve.between(lowest, 1)
    axes.plot(far, tar, color=SAME, linewidth=1.7, drawstyle="steps-post", zorder=3)
    if unresolved > lowest:
        axes.axvspan(lowest, unresolved, color=SHADE, linewidth=0)
        axes.text(
            np.sqrt(lowest * unresolved), 0.5, f"below one of\n{curve.num_impostors:,} impostors",
            transform=axes.get_xaxis_transform(), ha="center", va="center", color="#777777",
        )  # fmt: skip
    bottom = _bottom(float(tar[0]))
    for point in points:
        if point.tar is None:
            continue
        axes.plot(point.far, point.tar, "o", color=SAME, markersize=4.5, zorder=4, clip_on=False)
        below = point.tar > bottom + 0.12 * (1 - bottom)
        axes.annotate(
            f"{100 * point.tar:.2f}",
            (point.far, point.tar),
            xytext=(4, -5 if below else 5),
            textcoords="offset points",
            ha="left",
            va="top" if below else "bottom",
        )
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_ylim(bottom, 1)
    axes.set_xticks([1, *FARS], ["1", *map(far_name, FARS)])
    axes.minorticks_off()
    axes.set_xlabel("false accept rate (FAR)")
    axes.set_ylabel("true accept rate (TAR), %")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    axes.grid(color=FAINT, linewidth=0.6)


def draw_scores(axes: Any, report: VerificationReport) -> None:
    """Draw how the cosines of both kinds of pairs lie on matplotlib's `axes`."""
    low, high = np.floor(report.scores.min() * 10) / 10, np.ceil(report.scores.max() * 10) / 10
    # Bars that follow chance show nothing; with more pairs, finer ones do.
    bins = np.clip(round(2 * len(report.scores) ** 0.5), FEWEST_BINS, MOST_BINS)
    edges = np.linspace(low, max(high, low + 0.1), int(bins) + 1)
    kinds = (("one person", True, SAME), ("two people", False, DIFFERENT))
    for name, same, colour in kinds:
        scores = report.scores[report.issame == same]
        shares = 100 * np.histogram(scores, edges)[0] / len(scores)
        label = f"{name}, {len(scores):,} pairs"
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35, label=label)
        axes.stairs(shares, edges, color=colour, linewidth=1.2)
    top = 1.28 * axes.get_ylim()[1]
    axes.set_ylim(0, top)
    axes.set_xlim(edges[0], edges[-1])
    marks = sorted(
        (point.threshold.cosine, f"FAR {far_name(point.far)}")
        for point in report.points
        if point.threshold is not None and point.threshold.cosine <= edges[-1]
    )
    middles = spread([mark for mark, _ in marks], LABEL_GAP * (edges[-1] - edges[0]))
    for (cosine, name), middle in zip(marks, middles, strict=True):
        axes.plot(
            [cosine, cosine], [0, 0.8 * top], color=DARK, linewidth=0.8, linestyle=(0, (3, 2))
        )
        axes.plot([cosine, middle], [0.8 * top, 0.835 * top], color=DARK, linewidth=0.5)
        axes.text(middle, 0.845 * top, name, rotation=90, ha="center", va="bottom", fontsize=MARKS)
    axes.set_xlabel("cosine of a pair")
    axes.set_ylabel("% of the pairs of its kind")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": len(kinds)}
    axes.legend(frameon=False, borderaxespad=0.2, **above)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return rising `places`, moved as little as it takes for `gap` between neighbours."""
    moved = list(places)
    for _ in range(50 * len(moved)):
        close = [at for at in range(1, len(moved)) if moved[at] - moved[at - 1] < gap * (1 - 1e-6)]
        if not close:
            break
        for at in close:
            push = (gap - (moved[at] - moved[at - 1])) / 2
            moved[at - 1] -= push
            moved[at] += push
    return moved


def _bottom(lowest: float) -> float:
    """Return where an axis of rates begins that shows `lowest` to 1 at large."""
    for bottom in (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2):
        if lowest >= bottom + 0.1 * (1 - bottom):
            return bottom
    return 0.0


def _drawn(draw: Callable[[Any], None]) -> str:
    """Return what `draw` puts on new axes, as the data URI of an SVG picture."""
    with drawing(SIZE, SMALL_LETTERS, SVG) as figure:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        draw(axes)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.set_axisbelow(True)
        return svg_uri(figure)
