"""Table V: how much less effective editors are in code generation than in summarization."""

from dataclasses import dataclass

import numpy as np

from clme.publish import names
from clme.publish.results import Results
from clme.publish.tables import Cell, Row, Table, number
from clme.randomness import generator
from clme.study.statistics import interval, resampled_means


@dataclass(frozen=True)
class Decrease:
    """A decrease in percent of the value on CSNE, with its 95% interval.

    Attributes:
        low: NaN where a resample has nothing to decrease from.
    """

    value: float
    low: float
    high: float


def decreases(results: Results) -> dict[tuple[str, str], Decrease]:
    """Return the decrease of effectiveness (exact match) from CSNE to CNLE by model and editor.

    The interval is a bootstrap over the cases of both datasets. Without both tasks there is nothing; an
    editor without any success on CSNE has nothing to decrease from and is left out.
    """
    by_task = {one.task: name for name, one in results.study.datasets.items()}
    if len(by_task) < 2:
        return {}
    found = {}
    scores = results.scores.sort_values("case_id")
    for (model, editor), cell in scores.groupby(["model", "editor"], sort=False):
        values = {
            task: cell.loc[cell["dataset"] == dataset, ["effectiveness_em"]].to_numpy(dtype=float)
            for task, dataset in by_task.items()
        }
        base = values["csne"].mean()
        if editor == names.UNEDITED or not base > 0:
            continue
        means = {
            task: resampled_means(
                one, generator(results.study.seed, "decrease", task, str(model), str(editor))
            )
            for task, one in values.items()
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = interval(_percent(means["cnle"], means["csne"]))
        value = float(_percent(values["cnle"].mean(), base))
        found[str(model), str(editor)] = Decrease(value, float(low[0]), float(high[0]))
    return found


def _percent(less: np.ndarray, base: np.ndarray) -> np.ndarray:
    return 100 * (base - less) / base


def table_5(results: Results) -> Table:
    """The decrease by model and editor, and its mean over models."""
    found = decreases(results)
    editors = [name for name in results.editors(names.TABLE_4) if name != names.UNEDITED]
    rows: list[Row] = []
    for model, label in results.models.items():
        cells = [found.get((model, editor)) for editor in editors]
        rows.append((Cell(label), *map(_cell, cells)))
    means: list[Row] = []
    if len(results.models) > 1:
        columns = [[found.get((model, editor)) for model in results.models] for editor in editors]
        averages = [
            None if None in column else float(np.mean([one.value for one in column if one is not None]))
            for column in columns
        ]
        means.append((Cell("Mean"), *(number(value) for value in averages)))
    head = (Cell("Model"), *(Cell(names.editor(editor)) for editor in editors))
    return Table(
        "table_5",
        "Decrease of effectiveness (exact match) from CSNE to CNLE, in percent.",
        (head,),
        tuple(tuple(section) for section in (rows, means) if section),
        wide=len(editors) > 6,
    )


def _cell(found: Decrease | None) -> Cell:
    if found is None:
        return number(None)
    return number(found.value, note=f"95% interval {found.low:.2f} to {found.high:.2f}")
