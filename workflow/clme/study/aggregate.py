"""Puts the folds together: the mean of each cell and its 95% bootstrap interval."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from clme.errors import UserError
from clme.files import read_metadata, read_parquet, write_parquet
from clme.randomness import generator
from clme.study.schema import EDITS, METRIC_COLUMNS, METRICS

RESAMPLES = 2000
KEYS = ["model", "dataset", "editor"]
FLUENCY = ("fluency", "ngram_entropy_x100")


def run(paths: Sequence[Path], seed: int, output: Path) -> None:
    """Aggregate result files of edit jobs into one long table.

    Args:
        paths: files of `results/edits`, all folds of each cell.
        seed: for the bootstrap.
        output: where the table goes.

    Raises:
        UserError: files of different protocols or datasets are mixed, or a case is there twice.
    """
    _refuse_mixture(paths)
    frame = pd.concat([read_parquet(path, schema=EDITS) for path in paths], ignore_index=True)
    twice = frame[frame.duplicated([*KEYS, "case_id"])]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(
            f"case {row.case_id} of {row.model}/{row.dataset}/{row.editor} is in two of the files"
        )
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
    measured = [column for column in METRIC_COLUMNS if cell[column].notna().all()]
    values = cell.sort_values("case_id")[measured].to_numpy() * 100
    low, high = interval(values, generator(seed, "bootstrap", *names))
    counts = {"cases": len(cell), "failed": int((cell["status"] == "failed").sum())}
    rows = []
    for number, column in enumerate(measured):
        dimension, metric = FLUENCY if column == "fluency" else column.split("_", 1)
        bounds = {"value": values[:, number].mean(), "low": low[number], "high": high[number]}
        rows.append({"dimension": dimension, "metric": metric, **bounds, **counts})
    return rows


def interval(values: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95% percentile bootstrap interval of the mean over cases.

    Args:
        values: [cases, metrics]; cases are drawn whole.
        random: where the draws come from.

    Returns:
        Lower and upper bounds, each [metrics]; of a single case, the value itself.
    """
    if len(values) == 1:
        return values[0], values[0]
    found = bootstrap(
        (values,), np.mean, axis=0, n_resamples=RESAMPLES, batch=100, method="percentile", rng=random
    ).confidence_interval
    return np.asarray(found.low), np.asarray(found.high)


def _refuse_mixture(paths: Sequence[Path]) -> None:
    """Make sure that all files are of one study."""
    seen: dict[str, tuple[str, Path]] = {}
    for path in paths:
        metadata = read_metadata(path)
        frame = read_parquet(path, schema=EDITS)
        datasets = {f"cases of {name}": metadata["cases_sha256"] for name in frame["dataset"].unique()}
        for name, value in {"protocol": metadata["protocol"], "seed": metadata["seed"], **datasets}.items():
            before, other = seen.setdefault(name, (value, path))
            if before != value:
                raise UserError(
                    f"{other} and {path}: made with different {name} ({before}, {value}); rerun one"
                )
