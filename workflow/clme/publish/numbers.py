"""Every number and every claim of the paper's text that depends on results, by name."""

from collections.abc import Iterator

import pandas as pd

from clme.publish import exhibits, names, slips
from clme.publish.comparisons import DIMENSIONS, Lead, lead
from clme.publish.decrease import decreases
from clme.publish.published import against
from clme.publish.results import Results

NOTHING = "no editor was run"


def numbers(results: Results) -> dict[str, str]:
    """Return the text of each `\\result{name}` of the paper."""
    return {
        **_study(results),
        **dict(_cells(results)),
        **_best(results),
        **_costs(results),
        **_tasks(results),
        **_augmented(results),
        **_published(results),
        **_captions(),
    }


def _study(results: Results) -> dict[str, str]:
    study = results.study
    edited = [name for name in results.editors() if name != names.UNEDITED]
    cells = results.metrics.drop_duplicates(["model", "dataset", "editor"])
    rows = cells[cells["editor"] != names.UNEDITED]
    cases = {name: int(cells.loc[cells["dataset"] == name, "cases"].max()) for name in results.datasets}
    absent = [name for name in names.EDITORS if name not in study.editor_names]
    return {
        "study": study.study,
        "seed": str(study.seed),
        "protocol": study.protocol,
        "precision": study.compute.dtype,
        "models": names.listing(results.models.values()),
        "datasets": names.listing(
            f"{results.datasets[name]} with {count:,} cases" for name, count in cases.items()
        ),
        "editors": names.listing(map(names.editor, edited)),
        "editors/absent": f"Not part of this run: {names.listing(map(names.editor, absent))}."
        if absent
        else "",
        "folds": str(study.folds),
        "edits": f"{int(rows['cases'].sum()):,}",
        "failed": f"{int(rows['failed'].sum()):,}",
        "comparisons": f"{len(results.comparisons):,}",
    }


def _cells(results: Results) -> Iterator[tuple[str, str]]:
    for row in results.metrics.to_dict("records"):
        key = "/".join(str(row[name]) for name in ("model", "dataset", "editor", "dimension", "metric"))
        yield key, f"{row['value']:.2f}"
        yield f"{key}/interval", f"{row['low']:.2f} to {row['high']:.2f}"


def _best(results: Results) -> dict[str, str]:
    """Return who is best in each dimension, and whether one editor is best in all of them."""
    leads = {
        (dimension, model, dataset): found
        for dimension in DIMENSIONS
        for model in results.models
        for dataset in results.datasets
        if (found := lead(results, model, dataset, dimension)) is not None
    }
    claims = {f"claim/{dimension}": _leaders(results, dimension, leads) for dimension in DIMENSIONS}
    return claims | {"claim/balance": _balance(leads)}


def _leaders(results: Results, dimension: str, leads: dict[tuple[str, str, str], Lead]) -> str:
    """Return a sentence: who is best where, by how much, and for how many of the leads the test is sure."""
    found = [(model, dataset, one) for (kind, model, dataset), one in leads.items() if kind == dimension]
    if not found:
        return f"{dimension.capitalize()}: {NOTHING}."
    said: dict[str, list[str]] = {}
    for model, dataset, one in found:
        place = (
            dataset.upper() if len(results.models) == 1 else f"{results.models[model]} and {dataset.upper()}"
        )
        winners = names.listing(map(names.editor, one.best))
        said.setdefault(winners, []).append(f"{place} ({one.value:.2f}%)")
    parts = [f"{winners} on {names.listing(places)}" for winners, places in said.items()]
    certain = sum(one.certain for _, _, one in found)
    count = "its lead is" if len(found) == 1 else f"{certain} of the {len(found)} leads are"
    if len(found) == 1:
        count += "" if certain else " not"
    return f"{dimension.capitalize()} (exact match) is highest with {'; '.join(parts)}; {count} significant."


def _balance(leads: dict[tuple[str, str, str], Lead]) -> str:
    sets = [set(one.best) for one in leads.values()]
    everywhere = names.in_order(set.intersection(*sets)) if sets else []
    if everywhere:
        return f"{names.listing(map(names.editor, everywhere))} is best in all three dimensions throughout."
    return "No editor is best in all three dimensions throughout."


def _costs(results: Results) -> dict[str, str]:
    measured = results.scores.dropna(subset="edit_seconds")
    if measured.empty:
        return {"claim/time": "No edits were timed in this run.", "claim/memory": ""}
    seconds, memory = (_means(measured, column) for column in ("edit_seconds", "peak_memory_mb"))
    return {
        "claim/time": _extremes("The mean time per edit", seconds, "s", 2),
        "claim/memory": _extremes("The mean peak memory", memory, "MiB", 0) if memory else "",
    }


def _means(measured: pd.DataFrame, column: str) -> dict[str, float]:
    means = measured.dropna(subset=column).groupby("editor")[column].mean()
    return {str(editor): float(value) for editor, value in means.items()}


def _extremes(what: str, values: dict[str, float], unit: str, digits: int) -> str:
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    if least == most:
        return f"{what} is {values[least]:,.{digits}f} {unit} with {names.editor(least)}."
    return (
        f"{what} is smallest with {names.editor(least)} ({values[least]:,.{digits}f} {unit}) and largest with"
        f" {names.editor(most)} ({values[most]:,.{digits}f} {unit})."
    )


def _tasks(results: Results) -> dict[str, str]:
    found = decreases(results)
    if not found:
        return {"claim/tasks": "This run can't compare the tasks."}
    worse = [key for key, one in found.items() if one.value > 0]
    sure = [key for key in worse if found[key].low > 0]
    means: dict[str, list[float]] = {}
    for (_, editor), one in found.items():
        means.setdefault(editor, []).append(one.value)
    averages = {editor: sum(values) / len(values) for editor, values in means.items()}
    least = min(averages, key=averages.__getitem__)
    return {
        "claim/tasks": f"{len(worse)} of {len(found)} pairs of model and editor are less effective in code"
        f" generation than in summarization; for {len(sure)} of them the decrease's interval lies above 0;"
        f" {names.editor(least)} changes least ({_signed(averages[least])}%)."
    }


def _augmented(results: Results) -> dict[str, str]:
    """Return what A-GRACE changes against GRACE, for runs that have both."""
    if not {"grace", "a_grace"} <= set(results.study.editor_names):
        return {"claim/augmented": ""}
    parts = []
    for dataset in results.datasets:
        for dimension in DIMENSIONS:
            before, after = (_mean(results, dataset, editor, dimension) for editor in ("grace", "a_grace"))
            parts.append(f"{dimension} on {dataset.upper()} by {_signed(after - before)} points")
    return {"claim/augmented": f"Against GRACE, A-GRACE changes {names.listing(parts)} (exact match)."}


def _mean(results: Results, dataset: str, editor: str, dimension: str) -> float:
    """Return the mean over models of an editor's exact match."""
    cells = [results.cell(model, dataset, editor, dimension, "em") for model in results.models]
    values = [float(cell["value"]) for cell in cells if cell is not None]
    return sum(values) / len(values)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _published(results: Results) -> dict[str, str]:
    found = against(results).dropna(subset="difference")
    cells = found[found["table"] != "table5"].drop_duplicates(
        ["model", "dataset", "editor", "dimension", "metric"]
    )
    inside = int(((cells["low"] <= cells["published"]) & (cells["published"] <= cells["high"])).sum())
    same = all(one.published for one in results.study.models.values())
    models = "the same models" if same else "other models than the paper's"
    return {
        "claim/published": f"Of {len(cells)} cells that both have, {inside} published numbers lie within this"
        f" run's 95% intervals. The run is of {models}"
        + ("." if same else ", so only the order of the editors can be compared."),
        "claim/slips": slips.contradicted(results),
    }


def _captions() -> dict[str, str]:
    return {f"caption/{name}": one.caption for name, one in exhibits.FIGURES.items()}
