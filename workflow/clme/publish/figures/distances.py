"""Figures 2 and 5: how far a request's key is from its rephrase's and from its nearest neighbour's."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clme.publish.figures import style
from clme.publish.results import Results

REPHRASE, NEIGHBOUR = "#0072b2", "#d55e00"


def figure_2(results: Results) -> Figure:
    """Keys of GRACE: the last token's representation."""
    return _draw(results, "last")


def figure_5(results: Results) -> Figure:
    """Keys of A-GRACE: the encoded mean of all tokens' representations."""
    return _draw(results, "encoded")


def _draw(results: Results, key: str) -> Figure:
    models, datasets = results.models, results.datasets
    height = 0.45 + 1.2 * len(models)
    figure, axes = style.panels(len(models), len(datasets), style.COLUMN, height, sharex=False)
    for row, model in enumerate(models):
        for place, dataset in enumerate(datasets):
            found = results.distances(model, dataset)
            _curves(axes[row][place], found[found["key"] == key], first=row == 0 and place == 0)
    style.name_panels(axes, list(models.values()), list(datasets.values()))
    figure.supxlabel("Euclidean distance to the request's key", fontsize=8)
    figure.supylabel("Cases within the distance (%)", fontsize=8)
    return figure


def _curves(axis: Axes, found: pd.DataFrame, first: bool) -> None:
    near = found["to_rephrase"].to_numpy(dtype=float)
    far = np.array([values[0] for values in found["to_neighbours"]])
    radius = float(found["radius"].iloc[0])
    for values, colour, dashes in ((near, REPHRASE, "-"), (far, NEIGHBOUR, "--")):
        x = np.sort(values)
        share = 100 * np.arange(1, len(x) + 1) / len(x)
        axis.step(np.r_[0, x], np.r_[0, share], where="post", color=colour, linestyle=dashes, linewidth=1.1)
    axis.axvline(radius, color=style.INK, linestyle=":", linewidth=0.9)
    within = [100 * float((values <= radius).mean()) for values in (near, far)]
    said = f"fires: {within[0]:.0f}% of rephrases,\n{within[1]:.0f}% of neighbours"
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    axis.text(0.97, 0.05, said, transform=axis.transAxes, ha="right", va="bottom", fontsize=6, bbox=behind)
    if first:
        text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 6.5}
        axis.annotate("rephrase", _at(near, 0.8), xytext=(-5, 3), color=REPHRASE, ha="right", **text)
        axis.annotate("neighbour", _at(far, 0.55), xytext=(3, -5), color=NEIGHBOUR, **text)
    axis.set_xlim(0, max(float(np.quantile(np.r_[near, far], 0.99)), 1.2 * radius) * 1.03)
    axis.set_ylim(0, 102)
    axis.set_yticks([0, 50, 100])
    axis.grid()
    axis.set_axisbelow(True)


def _at(values: np.ndarray, share: float) -> tuple[float, float]:
    return float(np.quantile(values, share)), 100 * share
