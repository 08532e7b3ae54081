"""How editors that train did on cases that they were not trained on, while they trained."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clme.publish import names
from clme.publish.figures import style
from clme.publish.results import Results

_QUANTITIES = {
    "malmen": {"effectiveness": "-", "generalization": "--", "specificity": ":"},
    "a_grace": {"rephrases": "--", "neighbours": ":"},
    "a_grace_wo_mean": {"rephrases": "--", "neighbours": ":"},
}
_UNITS = {"malmen": "training step"}


def figure_training(results: Results) -> Figure:
    """A row for each dataset, a column for each editor that trains; thin lines are models and folds."""
    editors = [name for name in results.editors() if name in _QUANTITIES]
    datasets, found = results.datasets, results.training
    height = 1.3 * len(datasets) + 0.4
    figure, axes = style.panels(len(datasets), len(editors), style.PAGE, height, sharex=False)
    for row, dataset in zip(axes, datasets, strict=True):
        for axis, editor in zip(row, editors, strict=True):
            _panel(axis, editor, found[(found["editor"] == editor) & (found["dataset"] == dataset)])
        row[0].set_ylabel("held-out cases (%)", fontsize=7)
    style.name_panels(axes, list(datasets.values()), [names.editor(editor) for editor in editors])
    return figure


def _panel(axis: Axes, editor: str, found: pd.DataFrame) -> None:
    colour, ends, last = style.colour(editor), [], 1.0
    for quantity, dashes in _QUANTITIES[editor].items():
        of_quantity = found[found["quantity"] == quantity]
        if of_quantity.empty:
            continue
        for _, one in of_quantity.groupby(["model", "fold"]):
            axis.plot(one["step"], 100 * one["value"], dashes, color=colour, linewidth=0.4, alpha=0.5)
        mean = 100 * of_quantity.groupby("step")["value"].mean()
        axis.plot(mean.index, mean, dashes, color=colour, linewidth=1.1)
        ends.append((float(mean.iloc[-1]), quantity))
        last = max(last, float(mean.index[-1]))
    for y, (value, quantity) in zip(style.spread([value for value, _ in ends], 14, 103), ends, strict=True):
        axis.annotate(quantity, (last, value), xytext=(1.03 * last, y), fontsize=6, va="center",
                      color=colour, annotation_clip=False)  # fmt: skip
    axis.set_xlim(0, 1.3 * last)
    axis.set_xlabel(_UNITS.get(editor, "epoch"), fontsize=7)
    axis.set_ylim(-4, 106)
    axis.set_yticks([0, 50, 100])
    axis.grid(axis="y")
    axis.set_axisbelow(True)
