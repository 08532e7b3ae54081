"""Results by the length of the target and by the similarity of the neighbours."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clme.publish import names
from clme.publish.figures import style
from clme.publish.results import Results

_PANELS = (
    ("target_length", "effectiveness", "target length (words)", 0),
    ("neighbour_similarity", "specificity", "similarity of nearest neighbour", 2),
)


def figure_strata(results: Results) -> Figure:
    """A row for each factor, a column for each dataset."""
    datasets = results.datasets
    figure, axes = style.panels(len(_PANELS), len(datasets), style.COLUMN, 4.2, sharex=False)
    for row, (factor, dimension, label, digits) in enumerate(_PANELS):
        for place, dataset in enumerate(datasets):
            axis = axes[row][place]
            found = results.strata
            found = found[(found["factor"] == factor) & (found["dataset"] == dataset)]
            found = found[(found["dimension"] == dimension) & (found["metric"] == "rougeL")]
            _lines(axis, results, found)
            _ticks(axis, found, digits)
            axis.set_xlabel(label, fontsize=7)
            if place == 0:
                axis.set_ylabel(f"{dimension.capitalize()} (%)", fontsize=7)
    for axis, title in zip(axes[0], datasets.values(), strict=True):
        axis.set_title(title)
    return figure


def _lines(axis: Axes, results: Results, found: pd.DataFrame) -> None:
    ends: list[tuple[float, str]] = []
    last = 0
    for editor in results.editors():
        if editor == names.UNEDITED:
            continue
        by_stratum = found[found["editor"] == editor].groupby("stratum")["value"]
        if not len(by_stratum):
            continue
        mean = by_stratum.mean()
        colour = style.colour(editor)
        if len(results.models) > 1:
            axis.fill_between(
                mean.index, by_stratum.min(), by_stratum.max(), color=colour, alpha=0.12, linewidth=0
            )
        axis.plot(mean.index, mean, marker=style.marker(editor), markersize=3, color=colour, linewidth=0.9)
        ends.append((float(mean.iloc[-1]), editor))
        last = max(last, int(mean.index[-1]))
    for y, (value, editor) in zip(style.spread([value for value, _ in ends], 6.5, 103), ends, strict=True):
        axis.annotate(names.editor(editor), (last, value), xytext=(last + 0.15, y), fontsize=6, va="center",
                      color=style.colour(editor), annotation_clip=False)  # fmt: skip
    axis.set_xlim(-0.3, last + 1.5)
    axis.set_ylim(-4, 106)
    axis.set_yticks([0, 50, 100])
    axis.grid(axis="y")
    axis.set_axisbelow(True)


def _ticks(axis: Axes, found: pd.DataFrame, digits: int) -> None:
    strata = found.drop_duplicates("stratum").sort_values("stratum")
    labels = []
    for row in strata.to_dict("records"):
        least, most = f"{row['least']:.{digits}f}", f"{row['most']:.{digits}f}"
        labels.append(most if least == most else f"{least}–{most}")
    axis.set_xticks(strata["stratum"].tolist(), labels, fontsize=5.5, rotation=30, ha="right")
