"""Edits that could not be made, counted."""

from clme.publish import names
from clme.publish.results import Results
from clme.publish.tables import Cell, Row, Table, number


def table_failures(results: Results) -> Table:
    """Failed edits per model, dataset and editor, with the most frequent reason; only where there are any."""
    scores = results.scores
    rows: list[Row] = []
    for (model, dataset, editor), cell in scores.groupby(["model", "dataset", "editor"], sort=False):
        failed = cell[cell["status"] == "failed"]
        if len(failed):
            reason = str(failed["error"].value_counts().index[0])
            texts = (names.editor(str(editor)), results.models[str(model)], str(dataset).upper())
            counts = (number(len(failed), 0), number(len(cell), 0))
            rows.append((*map(Cell, texts), Cell(_short(reason)), *counts))
    if not rows:
        rows.append((Cell("none of the edits failed", span=6),))
    head = tuple(map(Cell, ("Editor", "Model", "Dataset", "Most frequent reason", "Failed", "Edits")))
    notes = ("A failed edit leaves the model as it is and counts as such in all other tables.",)
    return Table("table_failures", "Failed edits.", (head,), (tuple(rows),), notes, wide=True, texts=4)


def _short(reason: str, most: int = 60) -> str:
    return reason if len(reason) <= most else reason[: most - 1] + "…"
