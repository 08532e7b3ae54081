"""This run against the published numbers."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clme.publish.figures import style
from clme.publish.published import against
from clme.publish.results import Results

_DIMENSIONS = ("effectiveness", "generalization", "specificity")


def figure_published(results: Results) -> Figure:
    """A row for each dataset, a column for each dimension; every editor and model is a point."""
    found = against(results).dropna(subset="value")
    found = found[(found["metric"] == "em") & (found["table"] != "table5")]
    found = found.drop_duplicates(["model", "dataset", "editor", "dimension"])
    datasets = list(results.datasets)
    figure, axes = style.panels(len(datasets), 3, style.PAGE, 0.6 + 1.5 * len(datasets))
    marks: dict[Axes, list[tuple[float, float, str]]] = {}
    for row, dataset in enumerate(datasets):
        for place, dimension in enumerate(_DIMENSIONS):
            axis = axes[row][place]
            axis.plot([0, 100], [0, 100], color=style.FAINT, linewidth=0.6, zorder=1)
            chosen = found[(found["dataset"] == dataset) & (found["dimension"] == dimension)]
            for point in chosen.to_dict("records"):
                _point(axis, point)
            marks[axis] = _firsts(chosen.to_dict("records"))
            axis.set_xlim(-8, 108)
            axis.set_ylim(-8, 108)
            axis.set_xticks([0, 50, 100])
            axis.set_yticks([0, 50, 100])
            axis.set_aspect("equal")
    columns = [name.capitalize() for name in _DIMENSIONS]
    style.name_panels(axes, [name.upper() for name in datasets], columns)
    figure.supxlabel("Published exact match (%)", fontsize=8)
    figure.supylabel("This run (%)", fontsize=8)
    style.settle(figure)
    for axis, points in marks.items():
        if points:
            style.label_points(axis, points, 6)
    return figure


def _point(axis: Axes, point: dict[Any, Any]) -> None:
    editor = point["editor"]
    axis.plot(
        [point["published"]] * 2, [point["low"], point["high"]], color=style.colour(editor), linewidth=0.6
    )
    axis.plot([point["published"]], [point["value"]], style.marker(editor), color=style.colour(editor),
              markersize=3.5, markeredgewidth=0.6)  # fmt: skip


def _firsts(points: list[dict[Any, Any]]) -> list[tuple[float, float, str]]:
    """Return the first point of each editor, which is where its name goes."""
    found: dict[str, tuple[float, float, str]] = {}
    for point in points:
        found.setdefault(point["editor"], (point["published"], point["value"], point["editor"]))
    return list(found.values())
