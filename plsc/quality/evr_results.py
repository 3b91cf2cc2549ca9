"""Compute error-versus-reject curves of one set for models, measures and rates; format them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.inference.quality_calibration import refuse_constant
from plsc.quality.error_reject import check_differs, error_reject_curve, pair_quality
from plsc.quality.measures import MAGNITUDE
from plsc.quality.reject_curve import PARTIAL, Area, RejectCurve
from plsc.recognition.metrics.roc import far_name
from plsc.recognition.metrics.tables import aligned

Floats = NDArray[np.float64]

THRESHOLDS = {"reestimated": (False,), "fixed": (True,), "both": (False, True)}
THRESHOLD_LABELS = {
    False: "threshold re-estimated at each share",
    True: "threshold of the full set kept",
}
SHARES = (0.0, 0.05, 0.1, 0.2, 0.5)  # columns of the table
MARK = "*"
UNRESOLVED = f"\n{MARK} the threshold rests on fewer than 1/FMR impostor pairs"
DISTANCE_ROUNDING = 1e-6  # half turns; distances of equal vectors differ by no more


@dataclass(frozen=True)
class Line:
    """One line of the plot and of the table: one measure applied to the distances of one model."""

    model: str
    measure: str
    curve: RejectCurve


@dataclass(frozen=True)
class SetCurves:
    """The results on one set.

    Attributes:
        name: name of the set.
        issame: bool [P], true where a pair shows one person.
        flip: true if the embeddings were summed with those of the mirrored images.
        fmrs: the false match rates, in the user's order.
        fixed: kinds of threshold: False re-estimated, True kept.
        lines: ordered by model, measure, rate and kind of threshold.
        partial: the share rejected at which partial areas end.

    """

    name: str
    issame: NDArray[np.bool_]
    flip: bool
    fmrs: Sequence[float]
    fixed: Sequence[bool]
    lines: Sequence[Line]
    partial: float = PARTIAL

    @property
    def models(self) -> list[str]:
        """Return the names of the models, in order."""
        return list(dict.fromkeys(line.model for line in self.lines))

    @property
    def measures(self) -> list[str]:
        """Return the names of the measures, in order."""
        return list(dict.fromkeys(line.measure for line in self.lines))

    def panel(self, fmr: float, fixed: bool) -> list[Line]:
        """Return the lines at one rate and with one kind of threshold."""
        return [line for line in self.of_rate(fmr) if line.curve.fixed == fixed]

    def of_rate(self, fmr: float) -> list[Line]:
        """Return the lines at one rate."""
        return [line for line in self.lines if line.curve.fmr == fmr]

    def to_dict(self) -> dict[str, Any]:
        """Return all curves as a dictionary for JSON."""
        return {
            "set": self.name,
            "pairs": len(self.issame),
            "genuine": int(self.issame.sum()),
            "impostors": int((~self.issame).sum()),
            "flip": self.flip,
            "curves": [
                {"model": line.model, "measure": line.measure}
                | line.curve.to_dict(partial=self.partial)
                for line in self.lines
            ],
        }


def curves_of(
    distances: Floats,
    issame: NDArray[np.bool_],
    qualities: Mapping[str, Floats],
    *,
    model: str,
    fmrs: Sequence[float],
    fixed: Sequence[bool],
) -> list[Line]:
    """Return all lines of one model on one set.

    Args:
        distances: [P], distances as `plsc.recognition.metrics.angular.angles` computes them.
        issame: bool [P], true where a pair shows one person.
        qualities: measure -> quality [2P] of the images.
        model: name of the model.
        fmrs: the false match rates.
        fixed: kinds of threshold, as in `SetCurves`.

    Raises:
        UserError: all qualities or all distances are equal.

    """
    if np.ptp(distances) < DISTANCE_ROUNDING:
        raise UserError(f"{model}: embeddings have collapsed: all pairs are at one distance")
    lines = []
    for measure, quality in qualities.items():
        try:
            if measure == MAGNITUDE:
                refuse_constant(quality)
            check_differs(quality)
            of_pairs = pair_quality(quality)
            lines += [
                Line(
                    model,
                    measure,
                    error_reject_curve(distances, issame, of_pairs, fmr=fmr, fixed=is_fixed),
                )
                for fmr in fmrs
                for is_fixed in fixed
            ]
        except UserError as error:
            hint = ", or leave magnitude out (--measure)" if measure == MAGNITUDE else ""
            raise UserError(f"{model}: {measure}: {error}{hint}") from error
    return lines


def text_of(curves: SetCurves) -> str:
    """Return tables for a terminal, one for each rate and kind of threshold."""
    embeddings = "sums with the mirrored images" if curves.flip else "images as they are"
    impostors = int((~curves.issame).sum())
    parts = [f"{curves.name}: {len(curves.issame)} pairs, {impostors} impostors; {embeddings}"]
    for fmr in curves.fmrs:
        for fixed in curves.fixed:
            lines = curves.panel(fmr, fixed)
            head = f"FNMR % at FMR {far_name(fmr)}, {THRESHOLD_LABELS[fixed]}"
            if not any(line.curve.points for line in lines) and lines[0].curve.end:
                parts.append(f"{head}\nno curve: {lines[0].curve.end.reason}")
            else:
                table = aligned(_rows(curves, lines))
                parts.append(f"{head}\n{table}" + (UNRESOLVED if MARK in table else ""))
    return "\n\n".join(parts)


def _rows(curves: SetCurves, lines: Sequence[Line]) -> list[list[str]]:
    shares = [f"{100 * share:.0f} % " for share in SHARES]
    head = ["rejected:", *shares, f"mean to {100 * curves.partial:g} %", "mean to 95 %"]
    return [head, *(_row(curves, line) for line in lines)]


def _row(curves: SetCurves, line: Line) -> list[str]:
    curve = line.curve
    name = line.measure if len(curves.models) == 1 else f"{line.model} {line.measure}"
    cells = [name, *(_at(curve, share) for share in SHARES)]
    cells += [_mean(curve.area(curves.partial), curves.partial), _mean(curve.area(), 0.95)]
    return [*cells, f"ends: {curve.end.reason}"] if curve.end else cells


def _at(curve: RejectCurve, share: float) -> str:
    """Return the FNMR at a share, with a mark if it is not resolved."""
    point = curve.at(share)
    if point is None:
        return "- "
    return _percent(point.fnmr) + (" " if point.resolved else MARK)


def _mean(area: Area | None, stop: float) -> str:
    """Return the mean FNMR; if the area ends before `stop`, say where."""
    if area is None:
        return "-"
    short = f"(to {100 * area.stop:g} %) " if area.stop < stop - 1e-9 else ""
    return short + _percent(area.mean_fnmr)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
