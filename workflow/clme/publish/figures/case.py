"""Figure 6: a case whose keys A-GRACE's encoder parts."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from clme.datasets.schema import CASES
from clme.files import read_parquet
from clme.publish.figures import style
from clme.publish.figures.distances import NEIGHBOUR, REPHRASE
from clme.publish.results import Results
from clme.randomness import generator

_TITLES = {"last": "last token (GRACE)", "encoded": "encoded mean (A-GRACE)"}
_SHOWN = 300


def figure_6(results: Results) -> Figure:
    """The case is chosen by the study's seed among those of the first model and dataset."""
    model, dataset = next(iter(results.models)), next(iter(results.datasets))
    found = results.distances(model, dataset)
    ids = sorted(found["case_id"].unique())
    case_id = ids[int(generator(results.study.seed, "figure 6").integers(len(ids)))]
    cases = read_parquet(results.folder / "datasets" / dataset / "cases.parquet", schema=CASES)
    case = cases.set_index("case_id").loc[case_id]
    figure = Figure(figsize=(style.COLUMN, 2.9), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=[1, 1.6])
    _texts(figure.add_subplot(grid[0, :]), case_id, case)
    for place, (key, title) in enumerate(_TITLES.items()):
        row = found[(found["case_id"] == case_id) & (found["key"] == key)].iloc[0]
        axis = figure.add_subplot(grid[1, place])
        _plane(axis, row)
        axis.set_title(title, fontsize=7.5)
    return figure


def _texts(axis: Axes, case_id: str, case: pd.Series) -> None:
    axis.set_axis_off()
    said = (
        ("Request", case["prompt"], style.INK),
        ("Rephrase", case["rephrase"], REPHRASE),
        ("Neighbour", case["neighbours"][0], NEIGHBOUR),
    )
    axis.text(0, 1.02, case_id, fontsize=6, color=style.FAINT, transform=axis.transAxes, va="bottom")
    for place, (label, text, colour) in enumerate(said):
        y = 1 - place / 3
        # A dollar sign would start a formula.
        body = textwrap.fill(" ".join(text.split())[:_SHOWN], 66, max_lines=2, placeholder=" …").replace(
            "$", r"\$"
        )
        axis.text(
            0, y, label, fontsize=6.5, color=colour, fontweight="bold", va="top", transform=axis.transAxes
        )
        axis.text(0.15, y, body, fontsize=6.5, va="top", transform=axis.transAxes)


def _plane(axis: Axes, row: pd.Series) -> None:
    x, y = np.asarray(row["x"], dtype=float), np.asarray(row["y"], dtype=float)
    axis.plot(x[3:], y[3:], "o", color="none", markeredgecolor=NEIGHBOUR, markersize=3, markeredgewidth=0.6)
    for number, colour, distance in (
        (1, REPHRASE, row["to_rephrase"]),
        (2, NEIGHBOUR, row["to_neighbours"][0]),
    ):
        axis.plot(x[[0, number]], y[[0, number]], color=colour, linewidth=0.7)
        axis.plot(x[number], y[number], "o", color=colour, markersize=4)
        middle = (x[[0, number]].mean(), y[[0, number]].mean())
        shown: dict[str, Any] = {"fontsize": 6, "color": colour, "ha": "center", "backgroundcolor": "white"}
        axis.annotate(f"{distance:.2f}", middle, (0, 2), textcoords="offset points", **shown)
    axis.plot(x[0], y[0], "s", color=style.INK, markersize=4)
    axis.margins(0.2)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel("first component", fontsize=6.5)
    axis.set_ylabel("second component", fontsize=6.5)
