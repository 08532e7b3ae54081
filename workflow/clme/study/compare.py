"""Compares editors with each other, case by case."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from clme.errors import UserError
from clme.files import read_metadata, write_parquet
from clme.randomness import generator
from clme.study.mixture import read_together
from clme.study.schema import COMPARISONS, MEASURES, PAPER_UNIT, SCORES, SHOWN
from clme.study.statistics import holm, interval, paired_test, resampled_means

ALL_MODELS = "*"

Scores = dict[str, np.ndarray]


def run(paths: Sequence[Path], seed: int, output: Path) -> None:
    """Compare all pairs of editors on each dataset, for each model and over all models.

    The interval of a difference is a paired bootstrap over cases; over all models, a case is drawn with its
    results on every model. P-values are adjusted over all comparisons in one measure, of whatever models and
    datasets.

    Args:
        paths: files of `results/edits`.
        seed: for the bootstrap.
        output: where the table goes.

    Raises:
        UserError: files of different studies are mixed.
    """
    frame = read_together(paths, SCORES)
    protocol = read_metadata(paths[0])["protocol"]
    measured = [column for column in SHOWN if frame[column].notna().all()]
    rows = [
        {"protocol": protocol, "model": model, "dataset": dataset, **row}
        for dataset in frame["dataset"].unique()
        for model, scores in _per_model(frame[frame["dataset"] == dataset], measured)
        for row in _compare(scores, measured, generator(seed, "comparison", model, dataset))
    ]
    found = pd.DataFrame(rows, columns=COMPARISONS.names)
    for _, family in found.groupby(["dimension", "metric"]):
        found.loc[family.index, "p_adjusted"] = holm(family["p"].to_numpy())
    write_parquet(output, found, schema=COMPARISONS, metadata={"protocol": protocol, "seed": str(seed)})


def _per_model(frame: pd.DataFrame, measured: Sequence[str]) -> Iterator[tuple[str, Scores]]:
    """Yield each model's scores by editor, then those of all models: [cases, measures] in the same order."""
    models = {str(model): _scores(part, measured) for model, part in frame.groupby("model", sort=False)}
    yield from models.items()
    if len(models) > 1:
        shared = [name for name in next(iter(models.values())) if all(name in one for one in models.values())]
        yield ALL_MODELS, {name: np.mean([one[name] for one in models.values()], axis=0) for name in shared}


def _scores(frame: pd.DataFrame, measured: Sequence[str]) -> Scores:
    found, cases = {}, None
    for editor, part in frame.groupby("editor", sort=False):
        ordered = part.sort_values("case_id")
        ids = ordered["case_id"].tolist()
        if cases is not None and ids != cases:
            first = ordered.iloc[0]
            raise UserError(
                f"edits of {first.model}/{first.dataset}: {editor} has other cases than {next(iter(found))};"
                " rerun its folds"
            )
        cases = ids
        found[str(editor)] = ordered[list(measured)].to_numpy(dtype=float)
    return found


def _compare(
    scores: Scores, measured: Sequence[str], random: np.random.Generator
) -> Iterator[dict[str, object]]:
    """Yield the rows of all pairs of editors."""
    editors = list(scores)
    cases = len(next(iter(scores.values())))
    means = resampled_means(np.hstack([scores[name] for name in editors]), random)
    by_editor = dict(zip(editors, np.split(means, len(editors), axis=1), strict=True))
    for editor, other in combinations(editors, 2):
        differences = scores[editor] - scores[other]
        low, high = interval(by_editor[editor] - by_editor[other])
        for number, column in enumerate(measured):
            dimension, metric = MEASURES[column]
            yield {
                "dimension": dimension,
                "metric": metric,
                "editor": editor,
                "other": other,
                "difference": differences[:, number].mean() * PAPER_UNIT,
                "low": low[number] * PAPER_UNIT,
                "high": high[number] * PAPER_UNIT,
                "p": paired_test(differences[:, number]),
                "cases": cases,
            }
