"""Figures drawn with matplotlib: how they begin, how they are saved, how it is installed.

matplotlib is imported only where something is drawn, so that commands start without it, and never
pyplot, which keeps figures and looks for a display.
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from plsc.errors import UserError
from plsc.files.atomic import output_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSTALL = "pip install matplotlib"
DARK, FAINT = "#333333", "#e2e2e2"  # of letters, of grids
OPEN: Mapping[str, Any] = MappingProxyType({"axes.spines.top": False, "axes.spines.right": False})
SMALL_LETTERS: Mapping[str, Any] = MappingProxyType(
    {"font.size": 9, "text.color": DARK, "axes.labelcolor": DARK}
    | {"xtick.color": DARK, "ytick.color": DARK}
)
# Letters as outlines look the same everywhere; a salt makes equal figures equal files.
SVG: Mapping[str, Any] = MappingProxyType({"svg.fonttype": "path", "svg.hashsalt": "plsc"})


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def require_matplotlib(option: str) -> None:
    """Refuse, before any work, an option whose pictures could not be drawn.

    Raises:
        UserError: matplotlib is missing.

    """
    if not can_draw():
        raise UserError(f"{option} needs matplotlib: {INSTALL}")


@contextmanager
def drawing(size: tuple[float, float], *styles: Mapping[str, Any]) -> "Iterator[Figure]":
    """Give an empty figure, its axes open at the top and at the right.

    Args:
        size: width and height in inches.
        styles: matplotlib's settings. They hold within the block, in which the figure is saved.

    """
    import matplotlib
    from matplotlib.figure import Figure

    settings = {key: value for style in (OPEN, *styles) for key, value in style.items()}
    with matplotlib.rc_context(settings):
        yield Figure(figsize=size, layout="constrained")


def save(figure: "Figure", paths: Sequence[str | Path], *, dpi: int = 150) -> None:
    """Write the figure to each of `paths`, whose endings say how (.png, .pdf, .svg).

    Raises:
        UserError: the system refuses to write.

    """
    for path in paths:
        with output_file(path) as partial:
            figure.savefig(partial, dpi=dpi)


def svg_uri(figure: "Figure") -> str:
    """Return the figure as the data URI of an SVG picture that points nowhere and has no date."""
    written = io.StringIO()
    figure.savefig(
        written, format="svg", metadata=dict.fromkeys(["Creator", "Date", "Format", "Type"])
    )
    text = written.getvalue()
    picture = text[text.index("<svg") :]  # what stands before points to a file on the web
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"
