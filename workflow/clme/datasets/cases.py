"""Puts the stages' results together: nearest neighbours, then the benchmark's cases."""

import numpy as np
import pandas as pd

from clme.datasets.neighbours import nearest
from clme.datasets.settings import DatasetSettings
from clme.errors import UserError

TEMPLATES = {"cnle": "Intent: {text}\nCode:", "csne": "Code: {text}\nDescription:"}
"""The released code's prompts; the target follows after one space."""


def find_neighbours(
    split: pd.DataFrame, rephrases: pd.DataFrame, embeddings: np.ndarray, count: int
) -> pd.DataFrame:
    """Return each case's nearest non-targeted pairs (schema NEIGHBOURS).

    Args:
        split: schema MEMBERS.
        rephrases: schema REPHRASES; only targeted pairs with a rephrase become cases.
        embeddings: unit vectors [pairs, d] of the inputs, in the order of `split`.
        count: neighbours of each case.

    Raises:
        UserError: the embeddings are of other pairs.
    """
    if len(embeddings) != len(split):
        raise UserError(f"{len(embeddings)} embeddings for {len(split)} pairs; rerun the rule that embeds")
    chosen = (split["targeted"] & split["pair_id"].isin(rephrases["pair_id"])).to_numpy()
    others = ~split["targeted"].to_numpy()
    indices, similarities = nearest(embeddings[chosen], embeddings[others], count)
    other_ids = split.loc[others, "pair_id"].to_numpy()
    return pd.DataFrame(
        {
            "pair_id": split.loc[chosen, "pair_id"].to_numpy(),
            "neighbour_ids": [list(other_ids[row]) for row in indices],
            "similarities": [list(row) for row in similarities],
        },
        dtype=object,  # of no rows, too
    )


def assemble(
    split: pd.DataFrame,
    rephrases: pd.DataFrame,
    neighbours: pd.DataFrame,
    dataset: str,
    settings: DatasetSettings,
    folds: int,
) -> pd.DataFrame:
    """Return the cases (schema CASES); folds alternate along the dataset's seeded order.

    Raises:
        UserError: no case is left.
    """
    template = TEMPLATES[settings.task]
    pairs = split.set_index("pair_id")
    rewritten = rephrases.set_index("pair_id")["rephrase"]
    rows = []
    for number, row in enumerate(neighbours.to_dict("records")):
        pair = pairs.loc[row["pair_id"]]
        rows.append(
            {
                "case_id": f"{dataset}-{number:05d}",
                "fold": number % folds,
                "prompt": template.format(text=pair["input"]),
                "rephrase": template.format(text=rewritten[row["pair_id"]]),
                "target": pair["target"],
                "neighbours": [
                    template.format(text=pairs.loc[other, "input"]) for other in row["neighbour_ids"]
                ],
                "neighbour_ids": list(row["neighbour_ids"]),
                "neighbour_similarity": list(row["similarities"]),
                "origin": pair["origin"],
            }
        )
    if not rows:
        raise UserError(f"datasets.{dataset}: no targeted pair could be rephrased; raise `limit`")
    return pd.DataFrame(rows)
