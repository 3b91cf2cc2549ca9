"""Plot the ROC curve of a release."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plsc.recognition.metrics.ijb import NearestPoint
from plsc.recognition.metrics.roc import RocCurve
from plsc.report.figures import drawing, save

COLOUR, FAINT = "#4878a8", "#dddddd"
LOWEST_FPR, HIGHEST_FPR = 1e-6, 1e-1
OVERHANG = 1.1  # points nearest to the outer rates may lie beyond them by this factor


def draw_roc(
    curve: RocCurve, points: Sequence[NearestPoint], paths: Sequence[Path], *, title: str
) -> None:
    """Write the curve and the points of the table to each of `paths` (.png, .pdf).

    Raises:
        UserError: a file cannot be written.

    """
    with drawing((6.4, 4.4)) as figure:
        _draw(figure.subplots(), curve, points, title)
        save(figure, paths)


def _draw(axes: Any, curve: RocCurve, points: Sequence[NearestPoint], title: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    fpr, tpr = curve.between(LOWEST_FPR, HIGHEST_FPR)
    axes.plot(fpr, tpr, color=COLOUR, linewidth=1.6, drawstyle="steps-post")
    shown = [
        point for point in points if LOWEST_FPR / OVERHANG <= point.fpr <= HIGHEST_FPR * OVERHANG
    ]
    bottom = np.floor(max(0.0, min([point.tpr for point in shown], default=0) - 0.05) * 10) / 10
    axes.plot(
        [point.fpr for point in shown],
        [point.tpr for point in shown],
        "o",
        color=COLOUR,
        markersize=3.5,
        clip_on=False,
    )
    for point in shown:
        at_the_left, at_the_right = point.fpr < LOWEST_FPR * 2, point.fpr > HIGHEST_FPR / 2
        axes.annotate(
            f"{point.tpr * 100:.2f}",
            (point.fpr, point.tpr),
            xytext=(4 if at_the_left else 0, -13 if point.tpr > bottom + 0.05 else 6),
            textcoords="offset points",
            ha="left" if at_the_left else "right" if at_the_right else "center",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_xlim(LOWEST_FPR, HIGHEST_FPR)
    axes.set_ylim(bottom, 1)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.set_title(title, fontsize=11)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.minorticks_off()
    axes.set_axisbelow(True)
