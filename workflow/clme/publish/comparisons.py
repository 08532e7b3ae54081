"""The best editor of each dimension against the next best, tested case by case."""

from dataclasses import dataclass

from clme.publish import names
from clme.publish.results import Results
from clme.publish.tables import Cell, Row, Table, number

SIGNIFICANT = 0.05
DIMENSIONS = ("effectiveness", "generalization", "specificity")


@dataclass(frozen=True)
class Lead:
    """What the best editor is ahead by.

    Attributes:
        best: names of the best editors; several with the same value.
        value: theirs, in percent.
        second: the next best, if there is one.
        difference: best minus second, with its 95% interval.
        p: adjusted for all comparisons in the measure.
    """

    best: tuple[str, ...]
    value: float
    second: str | None = None
    difference: tuple[float, float, float] | None = None
    p: float | None = None

    @property
    def certain(self) -> bool:
        """Whether one editor is best and its lead is significant."""
        return self.p is not None and self.p < SIGNIFICANT


def lead(results: Results, model: str, dataset: str, dimension: str, metric: str = "em") -> Lead | None:
    """Return the lead in a measure; None where no editor was run."""
    values = {
        editor: float(cell["value"])
        for editor in results.study.editor_names
        if editor != names.UNEDITED
        and (cell := results.cell(model, dataset, editor, dimension, metric)) is not None
    }
    if not values:
        return None
    ranked = names.in_order(values)
    ranked.sort(key=lambda name: -values[name])
    top = values[ranked[0]]
    winners = tuple(name for name in ranked if values[name] == top)
    if len(winners) > 1 or len(ranked) == 1:
        return Lead(winners, top)
    first, second = ranked[:2]
    difference, p = _difference(results, model, dataset, dimension, metric, first, second)
    return Lead(winners, top, second, difference, p)


def _difference(
    results: Results, model: str, dataset: str, dimension: str, metric: str, editor: str, other: str
) -> tuple[tuple[float, float, float], float]:
    """Return `editor` minus `other` with its interval, and the adjusted p-value."""
    found = results.comparisons
    measure = (found["model"] == model) & (found["dataset"] == dataset)
    measure &= (found["dimension"] == dimension) & (found["metric"] == metric)
    pair = found[measure & found["editor"].isin([editor, other]) & found["other"].isin([editor, other])].iloc[
        0
    ]
    bounds = (float(pair["difference"]), float(pair["low"]), float(pair["high"]))
    if pair["editor"] != editor:
        bounds = (-bounds[0], -bounds[2], -bounds[1])
    return bounds, float(pair["p_adjusted"])


def table_comparisons(results: Results) -> Table:
    """For each model, dataset and dimension: the best editor, the next best, and the test between them."""
    sections = []
    for model, label in results.models.items():
        rows: list[Row] = [(Cell(label, span=6),)] if len(results.models) > 1 else []
        for dataset in results.datasets:
            for dimension in DIMENSIONS:
                found = lead(results, model, dataset, dimension)
                if found is not None:
                    rows.append((Cell(f"{dataset.upper()} {dimension}"), *_cells(found)))
        sections.append(tuple(rows))
    head = tuple(map(Cell, ("", "Best", "Next", "Lead", "95% interval", "p")))
    notes = (
        "Exact match in percent. McNemar's exact or Wilcoxon's signed-rank test, by cases; p is adjusted"
        " (Holm) for all comparisons of editors in the same measure.",
    )
    models = tuple(results.models.values())
    caption = "The best editor against the next best."
    return Table("table_comparisons", caption, (head,), tuple(sections), notes, texts=3, groups=models)


def _cells(found: Lead) -> tuple[Cell, ...]:
    winners = Cell(", ".join(map(names.editor, found.best)))
    if found.second is None or found.difference is None or found.p is None:
        return winners, number(None), number(None), number(None), number(None)
    value, low, high = found.difference
    return (
        winners,
        Cell(names.editor(found.second)),
        number(value, 1, bold=found.certain),
        Cell(f"{_tenths(low)} to {_tenths(high)}", low),
        Cell("<0.001" if found.p < 0.001 else f"{found.p:.3f}", found.p),
    )


def _tenths(value: float) -> str:
    """Round to tenths; what rounds to zero has no sign."""
    return f"{round(value, 1) + 0.0:.1f}"
