"""The trade-off between effectiveness, generalization and specificity."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clme.publish.figures import style
from clme.publish.results import Results

_METRIC = "rougeL"


def figure_tradeoff(results: Results) -> Figure:
    """Generalization against specificity, with effectiveness as the markers' size; ROUGE-L."""
    models, datasets = results.models, results.datasets
    figure, axes = style.panels(len(models), len(datasets), style.COLUMN, 0.5 + 1.95 * len(models))
    marks: dict[Axes, list[tuple[float, float, str]]] = {}
    for row, model in enumerate(models):
        for place, dataset in enumerate(datasets):
            axis = axes[row][place]
            marks[axis] = [
                mark
                for editor in results.editors()
                if (mark := _mark(axis, results, model, dataset, editor)) is not None
            ]
            axis.set_xlim(-6, 106)
            axis.set_ylim(-8, 112)
            axis.set_xticks([0, 50, 100])
            axis.set_yticks([0, 50, 100])
            axis.grid()
            axis.set_axisbelow(True)
    style.name_panels(axes, list(models.values()), list(datasets.values()))
    figure.supxlabel("Generalization (ROUGE-L, %)", fontsize=8)
    figure.supylabel("Specificity (ROUGE-L, %)", fontsize=8)
    style.settle(figure)
    for axis, points in marks.items():
        if points:
            style.label_points(axis, points, 6)
    return figure


def _mark(
    axis: Axes, results: Results, model: str, dataset: str, editor: str
) -> tuple[float, float, str] | None:
    across = results.cell(model, dataset, editor, "generalization", _METRIC)
    up = results.cell(model, dataset, editor, "specificity", _METRIC)
    size = results.cell(model, dataset, editor, "effectiveness", _METRIC)
    if across is None or up is None or size is None:
        return None
    x, y = across["value"], up["value"]
    colour = style.colour(editor)
    axis.plot([across["low"], across["high"]], [y, y], color=colour, linewidth=0.6)
    axis.plot([x, x], [up["low"], up["high"]], color=colour, linewidth=0.6)
    filled: dict[str, Any] = {} if style.marker(editor) == "x" else {"edgecolors": "white", "linewidths": 0.4}
    axis.scatter(
        [x], [y], s=6 + 0.6 * size["value"], marker=style.marker(editor), color=colour, zorder=3, **filled
    )
    return x, y, editor
