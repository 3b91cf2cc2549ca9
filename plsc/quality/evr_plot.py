"""Plot the error-versus-reject curves of a verification set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plsc.quality.error_reject import impostors_needed
from plsc.quality.evr_results import SetCurves
from plsc.quality.reject_curve import REJECTS, RejectCurve
from plsc.recognition.metrics.roc import far_name
from plsc.report.figures import DARK, FAINT, SMALL_LETTERS, drawing, save

# People who confuse red and green can tell these apart; the control is grey.
OWN_COLOURS = {
    "magnitude": "#2f6fa8", "sharpness": "#d9772b", "brightness": "#2a9d8f", "contrast": "#8a5aa8",
    "random": "#999999",
}  # fmt: skip
COLOURS = ("#c2405b", "#7a6a2f", "#5b8def", "#444444")  # for measures that users bring
STYLES = ("solid", (0, (4, 1.6)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (2, 3)))
PALE = 0.42
FONT, SMALL = 9, 7
PANEL, HEAD, NARROWEST = (3.2, 2.4), 0.6, 4.6  # inches
LEGEND_ENTRY = (1.5, 0.2)
THRESHOLD_LABELS = {False: "re-estimated threshold", True: "threshold of the full set"}


def draw_curves(curves: SetCurves, paths: Sequence[Path]) -> None:
    """Write the curves of a set to each of `paths` (.png, .pdf).

    The plot has a column of panels per FMR and a row per kind of threshold. Colours tell measures
    apart; dashes tell models apart.

    Raises:
        UserError: a file cannot be written.

    """
    colours, styles = colours_of(curves.measures), dict(zip(curves.models, STYLES, strict=False))
    drawn = [fmr for fmr in curves.fmrs if any(line.curve.points for line in curves.of_rate(fmr))]
    width = max(PANEL[0] * len(drawn) + 0.5, NARROWEST)
    handles, per_line = _legend(curves, colours, styles), int(width / LEGEND_ENTRY[0])
    lines = -(-len(handles) // per_line)
    height = PANEL[1] * len(curves.fixed) + HEAD + LEGEND_ENTRY[1] * lines
    with drawing((width, height), SMALL_LETTERS, {"pdf.fonttype": 42}) as figure:
        panels = figure.subplots(
            len(curves.fixed), len(drawn), sharex=True, sharey="col", squeeze=False
        )
        for across, fixed in zip(panels, curves.fixed, strict=True):
            for axes, fmr in zip(across, drawn, strict=True):
                _draw_panel(axes, curves, fmr, fixed, colours, styles)
            across[0].set_ylabel(f"FNMR, %\n{THRESHOLD_LABELS[fixed]}")
        for axes, fmr in zip(panels[0], drawn, strict=True):
            axes.set_title(f"FMR {far_name(fmr)}", fontsize=FONT + 0.5, loc="left")
        for axes in panels[-1]:
            axes.set_xlabel("pairs rejected, %")
        for column in range(len(drawn)):
            _limit(list(panels[:, column]))
        figure.suptitle(_title(curves, drawn), fontsize=FONT + 0.5)
        figure.legend(
            handles=_by_rows(handles, per_line), loc="outside lower center", ncols=per_line,
            frameon=False, handlelength=2.6, columnspacing=1.2, fontsize=FONT - 0.5,
        )  # fmt: skip
        save(figure, paths, dpi=200)


def colours_of(measures: Sequence[str]) -> dict[str, str]:
    """Return a colour for each measure; at most len(COLOURS) of them may be users' own."""
    others = iter(COLOURS)
    return {measure: OWN_COLOURS.get(measure) or next(others) for measure in measures}


def _title(curves: SetCurves, drawn: Sequence[float]) -> str:
    genuine, impostors = int(curves.issame.sum()), int((~curves.issame).sum())
    models = f"{curves.models[0]} on " if len(curves.models) == 1 else ""
    title = f"{models}{curves.name}: {genuine:,} genuine and {impostors:,} impostor pairs"
    missing = [
        f"FMR {far_name(fmr)} needs {impostors_needed(fmr):,} impostors"
        for fmr in curves.fmrs
        if fmr not in drawn
    ]
    return "\n".join([title, *([f"not drawn: {', '.join(missing)}"] if missing else [])])


def _draw_panel(
    axes: Any,
    curves: SetCurves,
    fmr: float,
    fixed: bool,
    colours: dict[str, str],
    styles: dict[str, Any],
) -> None:
    lines = curves.panel(fmr, fixed)
    for line in reversed(lines):  # draw the first one last, on top
        _draw_curve(axes, line.curve, colours[line.measure], styles[line.model])
    if fixed:
        for model in curves.models:
            curve = next(line.curve for line in lines if line.model == model)
            if curve.points:
                axes.plot(100 * REJECTS, 100 * curve.perfect(), color=DARK, linewidth=0.7,
                          linestyle=styles[model], zorder=2)  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    reasons = _reasons([line.curve for line in lines])
    axes.set_title("   ".join(reasons), fontsize=SMALL, color="#666666", loc="right")


def _draw_curve(axes: Any, curve: RejectCurve, colour: str, style: Any) -> None:
    """Draw a curve: pale where too few impostors resolve the rate, with a cross at an early end."""
    rejects = [100 * point.reject for point in curve.points]
    fnmrs = [100 * point.fnmr for point in curve.points]
    resolved = sum(point.resolved for point in curve.points)
    axes.plot(rejects[:resolved], fnmrs[:resolved], color=colour, linewidth=1.5, linestyle=style,
              zorder=3)  # fmt: skip
    rest = slice(max(resolved - 1, 0), None)
    axes.plot(rejects[rest], fnmrs[rest], color=colour, linewidth=1.1, linestyle=style,
              alpha=PALE, zorder=3)  # fmt: skip
    if curve.points and curve.end:
        axes.plot(rejects[-1], fnmrs[-1], "x", color=colour, markersize=4.5, markeredgewidth=1.2,
                  zorder=4, clip_on=False)  # fmt: skip


def _reasons(curves: Sequence[RejectCurve]) -> list[str]:
    """Return each reason why a curve of the panel ends early, once."""
    ends = {(curve.end.kind, curve.end.needed) for curve in curves if curve.end}
    return [
        f"× fewer than {needed:,} impostors left"
        if kind == "impostor"
        else "× no genuine pair left"
        for kind, needed in sorted(ends)
    ]


def _limit(panels: Sequence[Any]) -> None:
    """Set the axis of a column of panels from 0 to just above its highest line."""
    highest = max(max(line.get_ydata(), default=0) for axes in panels for line in axes.lines)
    panels[0].set_ylim(0, max(1.0, min(1.12 * highest, 104.0)))


def _by_rows(handles: Sequence[Any], per_line: int) -> list[Any]:
    """Reorder `handles` so that a legend, which fills columns first, shows them row by row."""
    return [handle for column in range(per_line) for handle in handles[column::per_line]]


def _legend(curves: SetCurves, colours: dict[str, str], styles: dict[str, Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    several = len(curves.models) > 1
    handles = [Line2D([], [], color=colours[m], linewidth=1.8, label=m) for m in curves.measures]
    if several:
        handles += [
            Line2D([], [], color="#777777", linewidth=1.5, linestyle=styles[model], label=model)
            for model in curves.models
        ]
    if True in curves.fixed:
        handles.append(Line2D([], [], color=DARK, linewidth=0.7, label="errors rejected first"))
    if any(not point.resolved for line in curves.lines for point in line.curve.points):
        handles.append(
            Line2D(
                [],
                [],
                color="#777777",
                linewidth=1.1,
                alpha=PALE,
                label="fewer than 1/FMR impostors",
            )
        )
    return handles
