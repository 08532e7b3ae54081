"""Puts the folds together: the mean of each cell and its 95% bootstrap interval."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clme.files import read_metadata, write_parquet
from clme.randomness import generator
from clme.study.mixture import KEYS, read_together
from clme.study.schema import MEASURES, METRICS, PAPER_UNIT, SCORES
from clme.study.statistics import interval, resampled_means


def run(paths: Sequence[Path], seed: int, output: Path) -> None:
    """Aggregate result files of edit jobs into one long table.

    Args:
        paths: files of `results/edits`, all folds of each cell.
        seed: for the bootstrap.
        output: where the table goes.

    Raises:
        UserError: files of different studies are mixed, or a case is there twice.
    """
    frame = read_together(paths, SCORES)
    protocol = read_metadata(paths[0])["protocol"]
    rows = []
    for key, cell in frame.groupby(KEYS, sort=False):
        names = dict(zip(KEYS, map(str, key), strict=True))
        rows += [{"protocol": protocol, **names, **row} for row in _cell(cell, seed, *names.values())]
    write_parquet(
        output, pd.DataFrame(rows), schema=METRICS, metadata={"protocol": protocol, "seed": str(seed)}
    )


def _cell(cell: pd.DataFrame, seed: int, *names: str) -> list[dict[str, object]]:
    """Return the metrics of one editor on one dataset of one model."""
    measured = [column for column in MEASURES if cell[column].notna().all()]
    values = cell.sort_values("case_id")[measured].to_numpy() * PAPER_UNIT
    low, high = interval(resampled_means(values, generator(seed, "bootstrap", *names)))
    counts = {"cases": len(cell), "failed": int((cell["status"] == "failed").sum())}
    rows: list[dict[str, object]] = []
    for number, column in enumerate(measured):
        dimension, metric = MEASURES[column]
        bounds = {"value": values[:, number].mean(), "low": low[number], "high": high[number]}
        rows.append({"dimension": dimension, "metric": metric, **bounds, **counts})
    return rows
