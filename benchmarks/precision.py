"""Compares a study in reduced precision with the same study in float32.

\b
    make reproduce                                in one clone, and in another one:
    make reproduce PRESET=half
    python benchmarks/precision.py results ../half/results

For each cell of the tables it is said whether reduced precision stays within the interval of float32, and
for each editor how long its jobs took in both. FLOAT32 and REDUCED are folders of results; the page is
docs/precision.md.
"""

import json
from pathlib import Path
from typing import Any

import click
import pandas as pd

from clme.errors import UserError
from clme.files import read_metadata, read_parquet, write_text
from clme.publish.timings import TIMINGS
from clme.study.schema import METRICS

ROOT = Path(__file__).parents[1]
CELL = ["model", "dataset", "editor", "dimension", "metric"]
SHOWN = ("effectiveness", "generalization", "specificity")
LONG = 0.01
"""The part of all time from which on a rule is named."""


def cells(exact: pd.DataFrame, reduced: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the tables with both values; `within` tells whether the second is in the interval.

    Args:
        exact: metrics in float32, schema METRICS.
        reduced: metrics in reduced precision.

    Raises:
        UserError: they are of different studies.
    """
    both = exact.merge(reduced, on=CELL, how="outer", suffixes=("", "_reduced"), indicator=True)
    alone = both[both["_merge"] != "both"]
    if len(alone):
        raise UserError(f"{'/'.join(alone.iloc[0][CELL])}: only in one of the two studies")
    inside = both["value_reduced"].between(both["low"], both["high"])
    return both.drop(columns="_merge").assign(within=inside)


def seconds(timings: pd.DataFrame) -> pd.Series:
    """Return the seconds of all jobs, by rule."""
    return timings.groupby("rule")["seconds"].sum()


def page(found: pd.DataFrame, exact: pd.Series, reduced: pd.Series, about: list[dict[str, Any]]) -> str:
    """Return the comparison as Markdown."""
    outside = found[~found["within"]]
    lines = [
        "# Reduced precision",
        "",
        "Made by `python benchmarks/precision.py` from two studies; nothing here is written by hand.",
        "",
        f"The same study in {about[0]['dtype']} on {about[0]['hardware']}, and in {about[1]['dtype']} on"
        f" {about[1]['hardware']}: of {len(found)} cells of the tables {len(outside)} are outside of the 95%"
        " interval of the first.",
        "",
        "## Exact match, %",
        "",
        f"| dataset | editor | {' | '.join(SHOWN)} |",
        "| --- | --- |" + " --- |" * len(SHOWN),
    ]
    exact_match = found[found["metric"] == "em"].set_index(["dataset", "editor", "dimension"])
    for dataset, editor in dict.fromkeys((one[0], one[1]) for one in exact_match.index):
        words = [_both(exact_match.loc[(dataset, editor, dimension)]) for dimension in SHOWN]
        lines.append(f"| {dataset} | {editor} | {' | '.join(words)} |")
    if len(outside):
        lines += ["", "## Cells outside of the interval", "", f"| {' | '.join(CELL)} | both |"]
        lines += ["| --- |" + " --- |" * len(CELL)]
        lines += [f"| {' | '.join(row[CELL])} | {_both(row)} |" for _, row in outside.iterrows()]
    lines += ["", "## Seconds of all jobs", ""]
    if about[0]["source"] != about[1]["source"]:
        lines += ["Different versions of this package made the two: times tell of that, too.", ""]
    lines += ["| rule | float32 | reduced | ratio |", "| --- | ---: | ---: | ---: |"]
    long = [rule for rule in exact.sort_values(ascending=False).index if exact[rule] >= LONG * exact.sum()]
    lines += [_times(rule, exact[rule], float(reduced.get(rule, 0.0))) for rule in long]
    lines.append(_times("others", exact.drop(long).sum(), reduced.drop(long, errors="ignore").sum()))
    lines.append(_times("all", exact.sum(), reduced.sum()))
    return "\n".join(lines) + "\n"


def _both(cell: pd.Series) -> str:
    mark = "" if cell["within"] else " (outside)"
    return f"{cell['value']:.1f} [{cell['low']:.1f}, {cell['high']:.1f}] → {cell['value_reduced']:.1f}{mark}"


def _times(name: str, exact: float, reduced: float) -> str:
    ratio = f"{exact / reduced:.1f}" if reduced else "–"
    return f"| {name} | {exact:,.0f} | {reduced:,.0f} | {ratio} |"


def _about(results: Path) -> dict[str, Any]:
    """Return what made a study's results, from the first of its edits."""
    path = next(iter(sorted(results.glob("edits/*/*/*/*.parquet"))), None)
    if path is None:
        raise UserError(f"{results}: has no edits; run the study first")
    stored = read_metadata(path)
    hardware = json.loads(stored["hardware"])
    dtype = json.loads(stored["settings"])["compute"]["dtype"]
    place = f"{hardware['processor']} ({hardware['device']})"
    return {"dtype": dtype, "hardware": place, "source": stored["source_hash"]}


@click.command(help=__doc__)
@click.argument("float32", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("reduced", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ROOT / "docs/precision.md",
    show_default="docs/precision.md",
)
def main(float32: Path, reduced: Path, output: Path) -> None:
    """Compare, and write the page."""
    metrics = [read_parquet(folder / "metrics.parquet", schema=METRICS) for folder in (float32, reduced)]
    timings = [read_parquet(folder / "timings.parquet", schema=TIMINGS) for folder in (float32, reduced)]
    found = cells(*metrics)
    write_text(output, page(found, *map(seconds, timings), [_about(float32), _about(reduced)]))
    click.echo(f"{(~found['within']).sum()} of {len(found)} cells are outside of the interval -> {output}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"Error: {error}") from None
