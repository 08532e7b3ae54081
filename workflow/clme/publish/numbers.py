"""Every number and every claim of the paper's text that depends on results, by name."""

from collections.abc import Iterator

from clme.publish import names
from clme.publish.results import Results

NONE = "no editor of this run"


def numbers(results: Results) -> dict[str, str]:
    """Return the text of each `\\result{name}` of the paper."""
    return {**_study(results), **dict(_cells(results)), **_claims(results)}


def _study(results: Results) -> dict[str, str]:
    study = results.study
    edited = [name for name in results.editors() if name != names.UNEDITED]
    cells = results.metrics.drop_duplicates(["model", "dataset", "editor"])
    rows = cells[cells["editor"] != names.UNEDITED]
    cases = {name: int(cells.loc[cells["dataset"] == name, "cases"].max()) for name in results.datasets}
    return {
        "study": study.study,
        "seed": str(study.seed),
        "protocol": study.protocol,
        "models": names.listing(results.models.values()),
        "datasets": names.listing(
            f"{results.datasets[name]} with {count} cases" for name, count in cases.items()
        ),
        "editors": names.listing(map(names.editor, edited)),
        "editors/count": str(len(edited)),
        "folds": str(study.folds),
        "edits": f"{int(rows['cases'].sum()):,}",
        "failed": f"{int(rows['failed'].sum()):,}",
    }


def _cells(results: Results) -> Iterator[tuple[str, str]]:
    for row in results.metrics.itertuples():
        key = "/".join((row.model, row.dataset, row.editor, row.dimension, row.metric))  # type: ignore[arg-type]
        yield key, f"{row.value:.2f}"
        yield f"{key}/interval", f"{row.low:.2f} to {row.high:.2f}"


def _claims(results: Results) -> dict[str, str]:
    return {
        f"claim/{dimension}": _best(results, dimension)
        for dimension in ("effectiveness", "generalization", "specificity")
    }


def _best(results: Results, dimension: str) -> str:
    """Return which editor is best in exact match, per model and dataset, as a sentence."""
    found = []
    for model, label in results.models.items():
        for dataset, task in results.datasets.items():
            values = {
                editor: float(cell["value"])
                for editor in results.editors()
                if editor != names.UNEDITED
                and (cell := results.cell(model, dataset, editor, dimension, "em")) is not None
            }
            if values:
                top = max(values.values())
                winners = names.listing(names.editor(name) for name, value in values.items() if value == top)
                found.append(f"{winners} on {label} and {task} ({top:.2f}%)")
    return names.listing(found) or NONE
