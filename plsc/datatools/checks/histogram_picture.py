"""Images per identity as a picture."""

from pathlib import Path
from typing import Any

from plsc.datatools.checks.set_summary import Histogram, range_name
from plsc.errors import UserError
from plsc.report.figures import drawing, require_matplotlib, save

COLOUR = "#4878a8"
TURN_NAMES_FROM = 10
LEAST_ROOM = 6  # bars
ENDINGS = (".png", ".svg", ".pdf")


def require_picture(path: str | Path) -> None:
    """Refuse, before anything is counted, a picture that could not be drawn.

    Raises:
        UserError: matplotlib is missing, or the ending of `path` is none of a picture.

    """
    if Path(path).suffix not in ENDINGS:
        raise UserError(f"{path}: the picture's name must end in {', '.join(ENDINGS)}")
    require_matplotlib(f"--plot {path}")


def draw_histogram(rows: Histogram, path: str | Path, *, title: str) -> None:
    """Write a picture of how many identities have how many images.

    Args:
        rows: as `Identities.histogram` gives them.
        path: `.png`, `.svg` or `.pdf`.
        title: stands above.

    Raises:
        UserError: the system refuses to write.

    """
    with drawing((9, 5)) as figure:
        _draw(figure.subplots(), rows, title)
        save(figure, [path])


def _draw(axes: Any, rows: Histogram, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    names = [range_name(first, last) for first, last, _ in rows]
    # By place, not by value: ranges that grow keep a long tail readable, and say what they are.
    bars = axes.bar(range(len(rows)), [number for _, _, number in rows], width=0.9, color=COLOUR)
    axes.bar_label(bars, fmt=lambda number: f"{number:,.0f}", fontsize=8, padding=2)
    axes.set_xticks(range(len(rows)), names)
    if len(rows) > TURN_NAMES_FROM:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    room = max(len(rows), LEAST_ROOM) / 2
    axes.set_xlim((len(rows) - 1) / 2 - room, (len(rows) - 1) / 2 + room)
    axes.set_xlabel("images of an identity")
    axes.set_ylabel("identities")
    axes.set_title(title, fontsize=11)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
