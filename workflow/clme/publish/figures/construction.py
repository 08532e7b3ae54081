"""Figure 1: how the datasets came about, with what is left after each stage."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clme.publish.figures import style
from clme.publish.results import Results

_STEPS: Mapping[str, str] = {
    "extract": "pairs of the source",
    "filter": "usable: parsed, not too long",
    "grade": "graded very relevant",
    "deduplicate": "with different inputs",
    "targeted": "targeted, to be edited",
    "cases": "with a rephrase: the cases",
}


def figure_1(results: Results) -> Figure:
    """One chain of stages for each dataset; bars are as wide as what is left."""
    stages = {dataset: results.stages(dataset) for dataset in results.datasets}
    most = max(sum(name in found for name in _STEPS) for found in stages.values())
    figure, axes = style.panels(1, len(stages), style.COLUMN, 0.35 + 0.36 * most)
    for axis, (dataset, found) in zip(axes[0], stages.items(), strict=True):
        _chain(axis, found, most)
        axis.set_title(results.datasets[dataset])
    return figure


def _chain(axis: Axes, found: Mapping[str, int], most: int) -> None:
    names = [name for name in _STEPS if name in found]
    whole = max(found[name] for name in names)
    for place, name in enumerate(names):
        y = most - 1 - place
        axis.barh(
            y - 0.18, found[name] / whole, height=0.24, color="#56b4e9" if name != "cases" else "#0072b2"
        )
        said = _STEPS[name]
        if name == "targeted":
            said += f"; {found['non_targeted']:,} others are neighbours"
        axis.text(0, y + 0.01, f"{found[name]:,}", fontsize=7.5, fontweight="bold", va="bottom")
        axis.text(0.24, y + 0.02, said.split(";")[0], fontsize=6.5, va="bottom", color=style.INK)
        if ";" in said:
            axis.text(
                1, y - 0.18, said.split("; ")[1], fontsize=5.5, va="center", ha="right", color=style.INK
            )
    axis.set_xlim(0, 1.02)
    axis.set_ylim(-0.45, most - 0.45)
    axis.set_axis_off()
