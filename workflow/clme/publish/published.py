"""The paper's numbers against those of this run, cell by cell (Tables IV to VI)."""

from collections.abc import Iterator, Mapping

import pandas as pd
import pyarrow as pa

from clme.publish import names
from clme.publish.decrease import decreases
from clme.publish.proficiency import COLUMNS, head
from clme.publish.results import Results
from clme.publish.tables import MISSING, Cell, Row, Table

AGAINST = pa.schema(
    [
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("table", "model", "published_model", "dataset", "editor", "dimension", "metric")
        ),
        pa.field("published", pa.float64(), nullable=False),
        *(pa.field(name, pa.float64()) for name in ("value", "low", "high")),
        *(pa.field(name, pa.float64()) for name in ("difference", "difference_low", "difference_high")),
    ]
)
"""One row per published cell and model of the run; ours is null where the run has no such cell, and its
interval where it has none. `published_model` is the paper's model, or ``mean`` over its three for a model
that the paper doesn't have. The published numbers count as exact: they come without intervals."""

MEAN = "mean"
_EDITORS: Mapping[str, str] = {label: name for name, label in names.EDITORS.items()} | {
    "none": names.UNEDITED
}
_KEYS = ["dataset", "editor", "dimension", "metric"]

Bounds = tuple[float, float, float]


def against(results: Results) -> pd.DataFrame:
    """Return all published cells beside this run's; schema AGAINST."""
    rows: list[dict[str, object]] = []
    by_task = {one.task.upper(): name for name, one in results.study.datasets.items()}
    reduced = decreases(results)
    for model, settings in results.study.models.items():
        other = settings.published or MEAN
        for table in ("table4", "table6"):
            for key, value in _means(results.published_csv(table), other):
                task, label, dimension, metric = key
                if task in by_task:
                    editor, dataset = _EDITORS[label], by_task[task]
                    ours = _ours(results, model, dataset, editor, dimension, metric)
                    about = (table, model, other, dataset, editor, dimension, metric)
                    rows.append(_row(about, value, ours))
        for label, value in _published_decreases(results, other):
            found = reduced.get((model, _EDITORS[label]))
            about = ("table5", model, other, "", _EDITORS[label], "decrease", "em")
            rows.append(_row(about, value, None if found is None else (found.value, found.low, found.high)))
    return pd.DataFrame(rows, columns=AGAINST.names)


def _means(frame: pd.DataFrame, model: str) -> Iterator[tuple[tuple[str, ...], float]]:
    chosen = frame if model == MEAN else frame[frame["model"] == model]
    means: pd.DataFrame = chosen.groupby(_KEYS, sort=False)[["value"]].mean().reset_index()
    for row in means.to_dict("records"):
        yield tuple(str(row[name]) for name in _KEYS), float(row["value"])


def _published_decreases(results: Results, model: str) -> Iterator[tuple[str, float]]:
    frame = results.published_csv("table5").set_index("model")
    for label in frame.columns:
        yield str(label), float(frame[label]["Avg." if model == MEAN else model])


def _ours(results: Results, *key: str) -> Bounds | None:
    cell = results.cell(*key)
    return None if cell is None else (float(cell["value"]), float(cell["low"]), float(cell["high"]))


def _row(about: tuple[str, ...], published: float, ours: Bounds | None) -> dict[str, object]:
    row: dict[str, object] = dict(zip(AGAINST.names, about, strict=False))
    row["published"] = published
    for name, value in zip(("value", "low", "high"), ours or (None, None, None), strict=True):
        row[name] = value
        row["difference" if name == "value" else f"difference_{name}"] = (
            None if value is None else value - published
        )
    return row


def table_published(results: Results) -> Table:
    """This run minus the published number for each cell of Tables IV and VI."""
    found = against(results)
    cells = found[found["table"] != "table5"].drop_duplicates(["model", *_KEYS])
    by_key = {tuple(row[["model", *_KEYS]]): row for _, row in cells.iterrows()}
    present = [name for name in results.study.editor_names if name in names.EDITORS]
    sections = []
    for model, label in results.models.items():
        other = results.study.models[model].published or "the mean of the paper's models"
        rows: list[Row] = [(Cell(f"{label} minus {other}", span=1 + len(COLUMNS) * len(results.datasets)),)]
        for editor in present:
            keys = [(model, dataset, editor, *column) for dataset in results.datasets for column in COLUMNS]
            rows.append((Cell(names.editor(editor)), *(_difference(by_key.get(key)) for key in keys)))
        sections.append(tuple(rows))
    notes = (
        "Percentage points (fluency: entropy times 100). Bold: the published number lies outside of this"
        " run's 95% interval. The published numbers themselves come without intervals.",
    )
    caption = "This run minus the published numbers."
    models = tuple(results.models.values())
    return Table("table_published", caption, head(results), tuple(sections), notes, wide=True, groups=models)


def _difference(row: "pd.Series[float] | None") -> Cell:
    if row is None or pd.isna(row["difference"]):
        return Cell(MISSING)
    outside = not row["low"] <= row["published"] <= row["high"]
    note = (
        f"published {row['published']:.2f}, this run {row['value']:.2f}; difference"
        f" {row['difference_low']:.2f} to {row['difference_high']:.2f}"
    )
    return Cell(f"{row['difference']:+.1f}".replace("-", "−"), float(row["difference"]), outside, note=note)
