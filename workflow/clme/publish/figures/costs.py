"""Figures 3 and 4: time and peak memory per edit, every measured edit and not only the means."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from clme.publish import names
from clme.publish.figures import style
from clme.publish.results import Results

_MOST_POINTS = 200


def figure_3(results: Results) -> Figure:
    """Time per edit."""
    return _draw(results, "edit_seconds", "Seconds per edit")


def figure_4(results: Results) -> Figure:
    """Peak memory per edit."""
    return _draw(results, "peak_memory_mb", "Peak memory per edit (MiB)")


def _draw(results: Results, column: str, label: str) -> Figure:
    editors = [name for name in results.editors() if name != names.UNEDITED]
    models, datasets = results.models, results.datasets
    height = 0.45 + len(models) * (0.22 + 0.19 * max(len(editors), 1))
    figure, axes = style.panels(len(models), len(datasets), style.COLUMN, height)
    measured = results.scores.dropna(subset=[column])
    for row, model in enumerate(models):
        for place, dataset in enumerate(datasets):
            axis = axes[row][place]
            cell = measured[(measured["model"] == model) & (measured["dataset"] == dataset)]
            for position, editor in enumerate(editors):
                values = cell.loc[cell["editor"] == editor, column].to_numpy(dtype=float)
                _distribution(axis, values, len(editors) - 1 - position, editor)
            axis.set_yticks(range(len(editors)), [names.editor(name) for name in reversed(editors)])
            axis.set_ylim(-0.6, len(editors) - 0.4)
            axis.grid(axis="x")
            axis.set_axisbelow(True)
            axis.tick_params(axis="y", length=0)
            axis.spines["left"].set_visible(False)
    style.name_panels(axes, list(models.values()), list(datasets.values()))
    _scale(axes[0][0], measured[column])
    figure.supxlabel(label, fontsize=8)
    return figure


def _distribution(axis: Axes, values: np.ndarray, position: int, editor: str) -> None:
    """Draw one editor's edits: points where they are few, quartiles, and the mean with its number."""
    if not len(values):
        axis.text(0.02, position, "not measured", transform=axis.get_yaxis_transform(), va="center",
                  color=style.FAINT, fontsize=6.5, style="italic")  # fmt: skip
        return
    colour = style.colour(editor)
    if len(values) > 3:
        low, first, middle, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        axis.plot([low, high], [position, position], color=colour, linewidth=0.8)
        axis.plot([first, third], [position, position], color=colour, linewidth=4, alpha=0.45,
                  solid_capstyle="butt")  # fmt: skip
        axis.plot([middle], [position], "|", color=colour, markersize=7, markeredgewidth=1.2)
    if len(values) <= _MOST_POINTS:
        # Points stand apart by a sequence that covers evenly; no random numbers.
        spread = (np.arange(len(values)) * 0.618034) % 1.0 - 0.5
        axis.plot(values, position + 0.4 * spread, ".", color=colour, markersize=2.5, markeredgewidth=0)
    axis.plot([values.mean()], [position], "D", color="white", markeredgecolor=style.INK, markersize=3,
              markeredgewidth=0.7, zorder=5)  # fmt: skip


def _scale(axis: Axes, values: "pd.Series[float]") -> None:
    """Use a logarithmic scale where values differ by more than a factor of eight."""
    positive = values[values > 0]
    if len(positive) and positive.max() > 8 * positive.min():
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(
            LogLocator(subs=(1.0, 2.0, 5.0) if positive.max() < 100 * positive.min() else (1.0,))
        )
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.ticklabel_format(style="plain", axis="x")
    else:
        axis.set_xlim(left=0)
