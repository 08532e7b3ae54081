"""Results by what a case is like: the length of its target, the similarity of its neighbours."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from clme.datasets.schema import CASES
from clme.files import read_metadata, read_parquet, write_parquet
from clme.randomness import generator
from clme.study.mixture import read_together
from clme.study.schema import EDITS, MEASURES, PAPER_UNIT, SCORES, SHOWN, STRATA
from clme.study.statistics import interval, resampled_means

STRATA_COUNT = 4
FACTORS = ("target_length", "neighbour_similarity")

_ROWS = pa.schema([*SCORES, EDITS.field("target")])
_NEAR = pa.schema([CASES.field("case_id"), CASES.field("neighbour_similarity")])
_WORDS = re.compile(r"\w+|[^\w\s]")


def run(edits: Sequence[Path], cases: Mapping[str, Path], seed: int, output: Path) -> None:
    """Compute metrics of each quarter of the cases, by each factor.

    Target length is in words and signs; a case's neighbour similarity is that of its nearest neighbour.

    Args:
        edits: files of `results/edits`.
        cases: each dataset's cases by its name.
        seed: for the bootstrap.
        output: where the table goes.

    Raises:
        UserError: files of different studies are mixed.
    """
    frame = read_together(edits, _ROWS)
    near = {name: read_parquet(path, schema=_NEAR) for name, path in cases.items()}
    rows = [
        row
        for dataset, part in frame.groupby("dataset", sort=False)
        for factor, values in _factors(part, near[str(dataset)]).items()
        for row in _stratified(part, factor, values, seed)
    ]
    metadata = {"protocol": read_metadata(edits[0])["protocol"], "seed": str(seed)}
    write_parquet(output, pd.DataFrame(rows, columns=STRATA.names), schema=STRATA, metadata=metadata)


def _factors(frame: pd.DataFrame, near: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """Return each factor's value by case id, for the cases of one dataset."""
    targets = frame.drop_duplicates("case_id").set_index("case_id")["target"]
    lengths = targets.map(lambda text: float(len(_WORDS.findall(text))))
    nearest = near.set_index("case_id")["neighbour_similarity"].map(max)
    return dict(zip(FACTORS, (lengths, nearest.loc[targets.index].astype(float)), strict=True))


def stratify(values: "pd.Series[float]", count: int) -> "pd.Series[int]":
    """Return the stratum of each value: about equally many in each, equal values in the same.

    Returns:
        Numbers from 0; fewer than `count` strata where values are few or equal.
    """
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[1:-1]))
    numbers = np.searchsorted(edges, values, side="left")
    return pd.Series(np.unique(numbers, return_inverse=True)[1], index=values.index)


def _stratified(
    frame: pd.DataFrame, factor: str, values: "pd.Series[float]", seed: int
) -> Iterator[dict[str, object]]:
    strata = stratify(values, STRATA_COUNT)
    measured = [column for column in SHOWN if frame[column].notna().all()]
    numbered = frame.assign(stratum=frame["case_id"].map(strata))
    for key, part in numbered.groupby(["model", "dataset", "editor", "stratum"], sort=False):
        model, dataset, editor, stratum = key
        scores = part.sort_values("case_id")[measured].to_numpy() * PAPER_UNIT
        random = generator(seed, "strata", factor, *map(str, key))
        low, high = interval(resampled_means(scores, random))
        within = values[strata == stratum]
        for number, column in enumerate(measured):
            dimension, metric = MEASURES[column]
            yield {
                "model": model,
                "dataset": dataset,
                "editor": editor,
                "factor": factor,
                "stratum": stratum,
                "least": within.min(),
                "most": within.max(),
                "dimension": dimension,
                "metric": metric,
                "value": scores[:, number].mean(),
                "low": low[number],
                "high": high[number],
                "cases": len(scores),
            }
