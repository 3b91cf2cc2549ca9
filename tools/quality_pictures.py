"""Pictures of the quality experiment, drawn with matplotlib; small enough to lie beside a text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image  # matplotlib needs it, too

from plsc.data.transforms.degrade import KINDS
from plsc.recognition.metrics.roc import far_name
from plsc.report.figures import FAINT, SMALL_LETTERS, drawing, save

COLOURS = ("#2f6fa8", "#d9772b")  # one per network; told apart by the colour-blind, too
DPI = 100
BINS = 10  # of severity
PALETTE = 160  # colours of a picture of pictures
SHEET_SCALE = 0.65
SHOWN = 5  # severities of the series that are shown


def draw_correlation(
    path: Path,
    faces: Mapping[str, np.ndarray],
    lengths: Mapping[str, np.ndarray],
    result: Mapping[str, Any],
) -> None:
    """Magnitude over severity, a panel per kind: median and middle half of the pictures.

    In shares of the median magnitude of the pictures that were not spoilt, which is each network's
    own unit.
    """
    with drawing((8.2, 2.6), SMALL_LETTERS) as figure:
        panels = figure.subplots(1, len(KINDS), sharey=True)
        edges = np.linspace(0, 1, BINS + 1)
        for axes, kind in zip(panels, KINDS, strict=True):
            of_kind = faces["kind"] == kind
            place = np.digitize(faces["severity"], edges[1:-1])
            for (name, values), colour in zip(lengths.items(), COLOURS, strict=True):
                unit = np.median(values[faces["kind"] == "none"])
                quartiles = np.array(
                    [
                        np.percentile(values[of_kind & (place == b)] / unit, (25, 50, 75))
                        for b in range(BINS)
                    ]
                )
                middles = (edges[1:] + edges[:-1]) / 2
                rho = result["correlation"][name][kind]["rho"]
                label = f"{name}, ρ {rho:+.2f}"
                axes.fill_between(middles, *quartiles[:, ::2].T, color=colour, alpha=0.18, lw=0)
                axes.plot(middles, quartiles[:, 1], color=colour, lw=1.8, label=label)
            _plain(axes, f"severity of {kind}")
            axes.legend(frameon=False, fontsize=7.5, loc="lower left", handlelength=1.2)
        panels[0].set_ylabel("magnitude / that of\nunspoilt pictures")
        save(figure, [path], dpi=DPI)


def draw_curves(path: Path, curves: Sequence[Mapping[str, Any]], networks: Sequence[str]) -> None:
    """FNMR over the share rejected, re-estimated thresholds: as it is, and as part of the first."""
    fmrs = sorted({curve["fmr"] for curve in curves}, reverse=True)
    styles = {"magnitude": "solid", "severity": (0, (4, 1.6)), "random": (0, (1, 1.2))}
    named = {"magnitude": "by magnitude", "severity": "by known severity", "random": "at random"}
    with drawing((2.7 * len(fmrs) + 0.4, 5.0), SMALL_LETTERS) as figure:
        panels = figure.subplots(2, len(fmrs), sharex=True, squeeze=False)
        for curve in (curve for curve in curves if curve["threshold"] == "reestimated"):
            colour = COLOURS[networks.index(curve["model"])]
            column, fnmr = fmrs.index(curve["fmr"]), np.array(curve["fnmr"])
            rejects = 100 * np.array(curve["rejects"])
            resolved = rejects <= 100 * (curve["resolved_to"] or 0)
            for row, values in enumerate((100 * fnmr, fnmr / fnmr[0])):
                panels[row, column].plot(
                    rejects[resolved], values[resolved], color=colour, lw=1.6,
                    ls=styles[curve["measure"]], alpha=0.5 if curve["measure"] == "random" else 1,
                    label=f"{curve['model']}, {named[curve['measure']]}",
                )  # fmt: skip
        for column, fmr in enumerate(fmrs):
            panels[0, column].set_title(f"FMR {far_name(fmr)}", fontsize=9.5)
            for axes in panels[:, column]:
                _plain(axes, "")
                axes.set_ylim(bottom=0)
            panels[1, column].set_xlabel("pairs rejected, %")
        panels[0, 0].set_ylabel("FNMR, %")
        panels[1, 0].set_ylabel("FNMR / that of all pairs")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        save(figure, [path], dpi=DPI)


def draw_series(
    path: Path, folder: Path, series: Mapping[str, Any], networks: Sequence[str]
) -> None:
    """One person spoilt more and more: one view, and the mean magnitude of many."""
    severities = np.array(series["severities"])
    shown = np.linspace(0, len(severities) - 1, SHOWN).astype(int)
    with drawing((7.6, 5.0), SMALL_LETTERS) as figure:
        grid = figure.add_gridspec(len(KINDS), SHOWN + 2)
        for row, kind in enumerate(KINDS):
            for column, index in enumerate(shown):
                axes = figure.add_subplot(grid[row, column])
                file = f"{kind}_{1000 * severities[index]:04.0f}_00.png"
                axes.imshow(Image.open(folder / file))
                lengths = [series[name]["first"][kind][index] for name in networks]
                axes.set_xlabel("   ".join(f"{v:.1f}" for v in lengths), fontsize=7.5, labelpad=2)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if row == 0:
                    axes.set_title(f"{severities[index]:g}", fontsize=8.5)
                if column == 0:
                    axes.set_ylabel(kind)
            axes = figure.add_subplot(grid[row, SHOWN:])
            for name, colour in zip(networks, COLOURS, strict=True):
                mean = np.array(series[name]["mean"][kind])
                axes.plot(severities, mean / mean[0], color=colour, lw=1.8, label=name)
            _plain(axes, "severity" if row == len(KINDS) - 1 else "")
            axes.yaxis.tick_right()
            axes.tick_params(labelsize=7.5)
            if row == 0:
                axes.set_title(f"magnitude / first, mean of {series['views']} views", fontsize=8.5)
                axes.legend(frameon=False, fontsize=7.5, handlelength=1.2)
        figure.supxlabel(f"below each picture: magnitude of {' and '.join(networks)}", fontsize=8)
        save(figure, [path], dpi=DPI)
    _quantise(path, Image.open(path).convert("RGB"))


def shrink(source: Path, path: Path) -> None:
    """A contact sheet with fewer pixels and colours."""
    image = Image.open(source).convert("RGB")
    size = round(image.width * SHEET_SCALE), round(image.height * SHEET_SCALE)
    _quantise(path, image.resize(size, Image.Resampling.LANCZOS))


def _quantise(path: Path, image: Image.Image) -> None:
    image.quantize(PALETTE, dither=Image.Dither.NONE).save(path, optimize=True)


def _plain(axes: Any, below: str) -> None:
    axes.grid(color=FAINT, lw=0.6)
    axes.set_xlabel(below)
