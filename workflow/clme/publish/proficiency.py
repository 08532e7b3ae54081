"""Tables IV and VI: how proficient editors are."""

from collections.abc import Mapping, Sequence

import pandas as pd

from clme.publish import names
from clme.publish.results import Results
from clme.publish.tables import MISSING, Cell, Row, Table, best, number

COLUMNS = [(dimension, metric) for dimension, metrics in names.DIMENSIONS.items() for metric in metrics]

_EXPLAINED = "EM: exact match, BU: BLEU, RL: ROUGE-L, all in percent; fluency is n-gram entropy times 100."


def table_4(results: Results) -> Table:
    """Proficiency of the techniques: all rows of the study but A-GRACE, its ablations and their variants."""
    return _table(
        results, "table_4", "Proficiency of each model editing technique.", _rows_of_table_4(results)
    )


def table_6(results: Results) -> Table:
    """Proficiency of A-GRACE and its ablations beside GRACE."""
    variants = [name for name in results.study.variants if results.study.editor(name) in names.TABLE_6[1:]]
    rows = [*names.TABLE_6, *variants]
    return _table(results, "table_6", "Proficiency of the A-GRACE approach and its variants.", rows)


def table_4_intervals(results: Results) -> Table:
    """All rows of the study with 95% intervals, one dataset after the other."""
    head = (
        (Cell(""), *(Cell(name.capitalize(), span=len(of)) for name, of in names.DIMENSIONS.items())),
        (Cell("Editor"), *(Cell(names.SHORT_METRICS[metric]) for _, metric in COLUMNS)),
    )
    sections = []
    for model, name in results.models.items():
        for dataset, label in results.datasets.items():
            rows: list[Row] = [(Cell(f"{name}, {label}", span=1 + len(COLUMNS)),)]
            for editor in results.editors():
                found = [results.cell(model, dataset, editor, *column) for column in COLUMNS]
                rows.append((Cell(names.editor(editor)), *map(_with_interval, found)))
            sections.append(tuple(rows))
    return Table(
        "table_4_intervals",
        "Proficiency with 95% intervals.",
        head,
        tuple(sections),
        (f"{_EXPLAINED} Percentile bootstrap over cases.",),
        wide=True,
        groups=tuple(
            f"{name}, {label}" for name in results.models.values() for label in results.datasets.values()
        ),
    )


def _with_interval(cell: "pd.Series[float] | None") -> Cell:
    if cell is None:
        return number(None)
    text = f"{cell['value']:.1f} [{cell['low']:.1f}, {cell['high']:.1f}]"
    return Cell(text, float(cell["value"]))


def _rows_of_table_4(results: Results) -> list[str]:
    study = results.study
    others = [name for name in study.editor_names if study.editor(name) not in names.TABLE_6[1:]]
    return [*names.TABLE_4, *others]


def _table(results: Results, name: str, caption: str, editors: Sequence[str]) -> Table:
    rows = names.in_order({names.UNEDITED, *editors})
    sections = tuple(_section(results, model, rows) for model in results.models)
    notes = [f"{_EXPLAINED} Bold: the best editor of a column, per model."]
    absent = [editor for editor in rows if editor not in results.study.editor_names]
    if absent:
        notes.append(f"{MISSING}: {names.listing(map(names.editor, absent))} not part of this run.")
    failed = _failed(results, rows)
    if failed:
        notes.append(f"Failed edits, counted as the unedited model: {failed}.")
    models = tuple(results.models.values())
    return Table(name, caption, head(results), sections, tuple(notes), wide=True, groups=models)


def head(results: Results) -> tuple[Row, ...]:
    """Return the header of tables with all measures of all datasets as columns."""
    datasets: list[Cell] = [Cell("")]
    dimensions: list[Cell] = [Cell("")]
    metrics: list[Cell] = [Cell("Model / editor")]
    for label in results.datasets.values():
        datasets.append(Cell(label, span=len(COLUMNS)))
        for dimension, chosen in names.DIMENSIONS.items():
            dimensions.append(Cell(dimension.capitalize(), span=len(chosen)))
        metrics += [Cell(names.SHORT_METRICS[metric]) for _, metric in COLUMNS]
    return tuple(datasets), tuple(dimensions), tuple(metrics)


def _section(results: Results, model: str, editors: Sequence[str]) -> tuple[Row, ...]:
    columns = [
        _column({editor: results.cell(model, dataset, editor, *column) for editor in editors})
        for dataset in results.datasets
        for column in COLUMNS
    ]
    labels = {editor: names.editor(editor) for editor in editors} | {names.UNEDITED: results.models[model]}
    return tuple((Cell(labels[editor]), *(column[editor] for column in columns)) for editor in editors)


def _column(cells: Mapping[str, "pd.Series[float] | None"]) -> dict[str, Cell]:
    """Return one column's cells by editor; the best of them, the unedited model aside, is bold."""
    values = {name: None if cell is None else float(cell["value"]) for name, cell in cells.items()}
    winners = best({name: value for name, value in values.items() if name != names.UNEDITED})
    return {
        name: number(values[name], bold=name in winners, note="" if cell is None else _note(cell))
        for name, cell in cells.items()
    }


def _note(cell: "pd.Series[float]") -> str:
    return f"95% interval {cell['low']:.2f} to {cell['high']:.2f}, {cell['cases']} cases"


def _failed(results: Results, editors: Sequence[str]) -> str:
    rows = results.metrics.drop_duplicates(["model", "dataset", "editor"])
    rows = rows[rows["editor"].isin(editors) & (rows["failed"] > 0)]
    return "; ".join(
        f"{row.failed} of {row.cases} of {names.editor(str(row.editor))} on"
        f" {results.models[str(row.model)]}, {results.datasets[str(row.dataset)]}"
        for row in rows.itertuples()
    )
