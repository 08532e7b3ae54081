"""One look for all figures: the column's width, the paper's font, colours that also part in grey."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from clme.files import atomic
from clme.publish import names

COLUMN = 3.5
"""Width of a column of IEEEtran, in inches."""
PAGE = 7.16
"""Width of both columns."""

INK, FAINT = "#1a1a1a", "#8a8a8a"
FORMATS: Mapping[str, Mapping[str, Any]] = {
    ".pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
    ".svg": {"metadata": {"Date": None, "Creator": None}},
    ".png": {"metadata": {"Software": None}, "dpi": 200},
}

_SETTINGS: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "clme",
    "axes.unicode_minus": True,
}

# Okabe and Ito's colours, from dark to light in grey where editors stand beside each other.
_COLOURS = {
    names.UNEDITED: "#000000",
    "ft_l": "#d55e00",
    "rome": "#0072b2",
    "memit": "#56b4e9",
    "pmet": "#cc79a7",
    "malmen": "#e69f00",
    "grace": "#009e73",
    "a_grace": "#004d40",
    "a_grace_wo_cl": "#7a9e8f",
    "a_grace_wo_mean": "#a3b8ae",
}
_MARKERS = {
    names.UNEDITED: "x",
    "ft_l": "s",
    "rome": "^",
    "memit": "v",
    "pmet": "D",
    "malmen": "P",
    "grace": "o",
    "a_grace": "*",
    "a_grace_wo_cl": "<",
    "a_grace_wo_mean": ">",
}


def colour(editor: str) -> str:
    """Return an editor's colour; the same in all figures."""
    return _COLOURS.get(editor, "#555555")


def marker(editor: str) -> str:
    """Return an editor's marker; the same in all figures."""
    return _MARKERS.get(editor, "h")


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save in the one style."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with a grid of axes that share their ranges.

    Args:
        rows: of the grid.
        columns: of the grid.
        width: of the figure, in inches.
        height: of the figure, in inches.
    """
    spacing = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(width, height), layout=spacing)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    return figure, [list(row) for row in axes]


def name_panels(axes: Sequence[Sequence[Axes]], rows: Sequence[str], columns: Sequence[str]) -> None:
    """Write the columns' names above the grid and the rows' at its right."""
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title)
    if len(rows) > 1:
        for line, title in zip(axes, rows, strict=True):
            line[-1].annotate(
                title, (1.02, 0.5), xycoords="axes fraction", rotation=270, va="center", ha="left"
            )


def save(figure: Figure, stem: Path) -> None:
    """Write a figure as PDF (for LaTeX), SVG and PNG (for the web); equal figures give equal bytes.

    Args:
        figure: drawn within `styled`.
        stem: path without suffix.
    """
    for suffix, options in FORMATS.items():
        with atomic(stem.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, **options)
