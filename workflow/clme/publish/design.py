"""Tables I to III: what was selected, how pairs were graded, what the datasets look like."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clme.publish import names
from clme.publish.results import Results
from clme.publish.tables import MISSING, Cell, Row, Table, number

_ROLES: Mapping[str, str] = {
    "effectiveness_input": "Effectiveness input",
    "generalization_input": "Generalization input",
    "specificity_input": "Specificity input",
    "edit_target": "Edit target",
    "specificity_target": "Specificity target",
}


def table_1(results: Results) -> Table:
    """The techniques by category and number of edited layers; those outside of the run are marked."""
    chosen = set(results.study.editor_names)
    absent = [
        name for kinds in names.CATEGORIES.values() for kind in kinds for name in kind if name not in chosen
    ]

    def cell(editors: tuple[str, ...]) -> Cell:
        said = [names.editor(name) + ("*" if name in absent else "") for name in editors]
        return Cell(", ".join(said) or MISSING)

    rows = tuple((Cell(kind), *map(cell, editors)) for kind, editors in names.CATEGORIES.items())
    others = [name for name in results.editors() if name not in names.EDITORS]
    if others:
        rows += ((Cell("Other"), Cell(", ".join(map(names.editor, others)), span=2)),)
    head = (Cell("Edited layers"), Cell("Single"), Cell("Multiple"))
    notes = ("*: not part of this run.",) if absent else ()
    return Table("table_1", "Selected techniques.", (head,), (rows,), notes, texts=3)


def table_2(results: Results) -> Table:
    """How many pairs have each grade, in this run and in the paper."""
    paper = results.published_csv("table2")
    levels = paper["level"].tolist()
    rows: list[Row] = []
    for dataset, label in results.datasets.items():
        found = results.statistics(dataset)["grades"]
        if found is not None:
            rows.append((Cell(label), *(_count(found[level]) for level in levels)))
    published = (Cell("Paper"), *(_count(int(count)) for count in paper["count"]))
    head = (Cell(""), *map(Cell, levels))
    caption = "Statistics of the relevance grades."
    return Table("table_2", caption, (head,), (tuple(rows), (published,)), texts=1)


def table_3(results: Results) -> Table:
    """Length and number of the texts of each role, in this run and in the paper."""
    paper = {(row["dataset"], row["role"]): row for row in results.published_csv("table3").to_dict("records")}
    measured = {
        (dataset, row["role"]): row
        for dataset in results.datasets
        for row in [*results.statistics(dataset)["lengths"], results.answers(dataset)]
    }
    tasks = {name: one.task.upper() for name, one in results.study.datasets.items()}
    span = 1 + 3 * len(tasks)
    sections = (
        _lines("This run", span, lambda role: [measured.get((dataset, role)) for dataset in tasks]),
        _lines("Paper", span, lambda role: [paper.get((task, role)) for task in tasks.values()]),
    )
    head = (
        (Cell(""), *(Cell(label, span=3) for label in results.datasets.values())),
        (Cell(""), *(Cell(text) for _ in results.datasets for text in ("Mean", "Median", "Number"))),
    )
    notes = ("In tokens of each dataset's encoder; the paper does not name its tokenizer.",)
    return Table("table_3", "Dataset statistics.", head, sections, notes, groups=("This run", "Paper"))


def _lines(
    title: str, span: int, found: Callable[[str], Sequence[Mapping[Any, Any] | None]]
) -> tuple[Row, ...]:
    """Return a titled section with a row for each role."""
    rows = [
        (Cell(label), *(cell for one in found(role) for cell in _length(one)))
        for role, label in _ROLES.items()
    ]
    return ((Cell(title, span=span),), *rows)


def _length(found: Mapping[Any, Any] | None) -> tuple[Cell, Cell, Cell]:
    if found is None:
        return number(None), number(None), number(None)
    return number(float(found["mean"])), number(float(found["median"]), 0), _count(int(found["count"]))


def _count(value: int) -> Cell:
    return Cell(f"{value:,}", float(value))
