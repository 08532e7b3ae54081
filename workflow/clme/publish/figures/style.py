"""One look for all figures: the column's width, the paper's font, colours that also part in grey."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

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
    "a_grace_wo_cl": "#5f7f75",
    "a_grace_wo_mean": "#8c6d31",
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


def panels(
    rows: int, columns: int, width: float, height: float, sharex: bool = True
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with a grid of axes that share their ranges.

    Args:
        rows: of the grid.
        columns: of the grid.
        width: of the figure, in inches.
        height: of the figure, in inches.
        sharex: whether the horizontal range is shared, too.
    """
    spacing = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(width, height), layout=spacing)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=True)
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


def spread(values: Sequence[float], gap: float, highest: float) -> list[float]:
    """Return heights for labels of `values`, in their order: near them, `gap` apart, none above `highest`."""
    order = sorted(range(len(values)), key=lambda number: values[number])
    placed = list(values)
    for before, number in pairwise(order):
        placed[number] = max(placed[number], placed[before] + gap)
    # What was pushed up is let down again as a whole, so that labels stay around their values.
    excess = sum(placed[number] - values[number] for number in order) / max(len(order), 1)
    placed = [height - excess for height in placed]
    above = highest + gap
    for number in reversed(order):
        above = placed[number] = min(placed[number], above - gap)
    return placed


def label_points(axis: Axes, points: Sequence[tuple[float, float, str]], size: float) -> None:
    """Write each editor's name beside its point, clear of other points and names; a line leads to far ones.

    The figure's layout must be final: call `settle` before.

    Args:
        axis: where the points are.
        points: of (x, y, editor), in data coordinates.
        size: of the font, in points.
    """
    scale = 72 / axis.figure.dpi
    places = axis.transData.transform([(x, y) for x, y, _ in points]) * scale
    frame = axis.get_window_extent()
    taken = [_Box(x - 3, y - 3, x + 3, y + 3) for x, y in places]
    for (x, y), (*point, editor) in zip(places, points, strict=True):
        name = names.editor(editor)
        width, height = 0.52 * size * len(name), 1.05 * size
        boxes = [
            _Box.at(x + dx, y + dy, width, height, "left" if dx >= 0 else "right")
            for reach in (5, 10, 16, 23, 31)
            for dx, dy in (*_diagonals(reach), (reach, 0), (0, reach), (-reach, 0), (0, -reach))
        ]
        best = min(boxes, key=lambda box: (box.outside(frame, scale), sum(map(box.overlap, taken))))
        taken.append(best)
        middle = (
            best.left if best.left > x else best.right if best.right < x else x,
            (best.low + best.high) / 2,
        )
        far = max(abs(middle[0] - x), abs(middle[1] - y)) > 9
        axis.annotate(
            name,
            (point[0], point[1]),
            (best.left - x, middle[1] - y),
            textcoords="offset points",
            fontsize=size,
            va="center",
            color=colour(editor),
            arrowprops={"arrowstyle": "-", "linewidth": 0.3, "color": colour(editor)} if far else None,
        )


def settle(figure: Figure) -> None:
    """Compute the layout once and keep it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _diagonals(reach: float) -> list[tuple[float, float]]:
    part = 0.7 * reach
    return [(part, part), (part, -part), (-part, part), (-part, -part)]


@dataclass(frozen=True)
class _Box:
    """A rectangle, in points."""

    left: float
    low: float
    right: float
    high: float

    @classmethod
    def at(cls, x: float, y: float, width: float, height: float, side: str) -> "_Box":
        left = x if side == "left" else x - width
        return cls(left, y - height / 2, left + width, y + height / 2)

    def overlap(self, other: "_Box") -> float:
        """Return the area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.high, other.high) - max(self.low, other.low)
        return max(wide, 0.0) * max(high, 0.0)

    def outside(self, frame: Bbox, scale: float) -> bool:
        """Return whether it leaves the axes."""
        return (
            self.left < frame.x0 * scale
            or self.right > frame.x1 * scale + 4
            or self.low < frame.y0 * scale
            or self.high > frame.y1 * scale + 4
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
