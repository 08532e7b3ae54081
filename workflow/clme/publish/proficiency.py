"""Tables IV and VI: how proficient editors are."""

from collections.abc import Sequence

from clme.publish import names
from clme.publish.results import Results
from clme.publish.tables import Cell, Row, Table, best, number

COLUMNS = [(dimension, metric) for dimension, metrics in names.DIMENSIONS.items() for metric in metrics]


def table_4(results: Results) -> Table:
    """Proficiency of the editing techniques; of the study's editors, all but A-GRACE and its variants."""
    others = [name for name in results.study.editor_names if name not in names.TABLE_6]
    return _table(
        results, "table_4", "Proficiency of each model editing technique.", [*names.TABLE_4, *others]
    )


def table_6(results: Results) -> Table:
    """Proficiency of A-GRACE and its ablations beside GRACE."""
    return _table(results, "table_6", "Proficiency of the A-GRACE approach and its variants.", names.TABLE_6)


def _table(results: Results, name: str, caption: str, editors: Sequence[str]) -> Table:
    rows = names.in_order({names.UNEDITED, *editors})
    sections = tuple(_section(results, model, rows) for model in results.models)
    missing = [
        f"{results.models[model]}: {names.listing(absent)}"
        for model in results.models
        if (absent := [names.editor(editor) for editor in rows if not _has(results, model, editor)])
    ]
    notes = [
        "EM: exact match, BU: BLEU, RL: ROUGE-L, all in percent; fluency is n-gram entropy times 100."
        " Bold: the best editor of a column, per model."
    ]
    if missing:
        notes.append(f"–: not part of this run ({'; '.join(missing)}).")
    failed = _failed(results, rows)
    if failed:
        notes.append(f"Failed edits, counted as the unedited model: {failed}.")
    return Table(name, caption, _head(results), sections, tuple(notes), wide=True)


def _head(results: Results) -> tuple[Row, ...]:
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
    columns: list[dict[str, Cell]] = []
    for dataset in results.datasets:
        for dimension, metric in COLUMNS:
            cells = {editor: results.cell(model, dataset, editor, dimension, metric) for editor in editors}
            edited = {
                editor: None if cell is None else float(cell["value"])
                for editor, cell in cells.items()
                if editor != names.UNEDITED
            }
            winners = best(edited)
            columns.append(
                {
                    editor: number(None)
                    if cell is None
                    else number(
                        float(cell["value"]),
                        bold=editor in winners,
                        note=f"95% interval {cell['low']:.2f} to {cell['high']:.2f}, {cell['cases']} cases",
                    )
                    for editor, cell in cells.items()
                }
            )
    labels = {
        editor: results.models[model] if editor == names.UNEDITED else names.editor(editor)
        for editor in editors
    }
    return tuple((Cell(labels[editor]), *(column[editor] for column in columns)) for editor in editors)


def _has(results: Results, model: str, editor: str) -> bool:
    found = results.metrics
    return bool(((found["model"] == model) & (found["editor"] == editor)).any())


def _failed(results: Results, editors: Sequence[str]) -> str:
    rows = results.metrics.drop_duplicates(["model", "dataset", "editor"])
    rows = rows[rows["editor"].isin(editors) & (rows["failed"] > 0)]
    return "; ".join(
        f"{row.failed} of {row.cases} of {names.editor(str(row.editor))} on"
        f" {results.models[str(row.model)]} {results.datasets[str(row.dataset)]}"
        for row in rows.itertuples()
    )
