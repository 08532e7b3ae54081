"""Distances of a case's keys before and after A-GRACE's encoder (paper, Figures 2, 5 and 6)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from clme.datasets.schema import CASES
from clme.errors import UserError
from clme.files import read_parquet, write_parquet
from clme.keys import KeyEncoder
from clme.representations import Representations
from clme.study.schema import DISTANCES
from clme.tensors import read_tensor_metadata, read_tensors

_FOLDS = pa.schema([CASES.field("case_id"), CASES.field("fold")])


def run(representations: Path, states: Sequence[Path], cases: Path, output: Path) -> None:
    """Measure the Euclidean distances of each case's prompt to its rephrase and to its neighbours.

    Three kinds of keys are measured: ``last``, the last token's representation (GRACE); ``mean``, the mean
    over tokens (A-GRACE without contrastive learning); ``encoded``, the encoded mean (A-GRACE). A case's
    encoder is the one of its fold, which was trained on the other folds.

    Args:
        representations: made by `clme prepare representations`.
        states: A-GRACE's encoders, one for each fold, made by `clme prepare state`.
        cases: the dataset's cases.
        output: where the table goes.

    Raises:
        UserError: a file is missing or damaged, or the encoders are not of one need.
    """
    stored = Representations(representations)
    frame = read_parquet(cases, schema=_FOLDS)
    folds = dict(zip(frame["case_id"], frame["fold"], strict=True))
    encoders, radius = _encoders(states)
    rows = [
        row
        for case_id, fold in folds.items()
        if case_id in stored and fold in encoders
        for row in _case(stored, case_id, int(fold), encoders[fold], radius)
    ]
    if not rows:
        raise UserError(f"{representations}: has none of the cases of {cases}; make it anew")
    write_parquet(output, pd.DataFrame(rows), schema=DISTANCES, metadata={})


def _encoders(states: Sequence[Path]) -> tuple[dict[int, KeyEncoder], float]:
    """Return the encoders by fold, and the radius of their codebooks."""
    found: dict[int, KeyEncoder] = {}
    radii = set()
    for path in states:
        metadata = read_tensor_metadata(path)
        need = metadata["need"]
        found[int(metadata["fold"])] = KeyEncoder(**read_tensors(path), slope=need["slope"])
        radii.add(float(need["radius"]))
    if len(radii) != 1:
        raise UserError(f"{', '.join(map(str, states))}: encoders of different radii; make them anew")
    return found, radii.pop()


@torch.no_grad()
def _case(
    stored: Representations, case_id: str, fold: int, encoder: KeyEncoder, radius: float
) -> Iterator[dict[str, object]]:
    mean = stored.of(case_id, "mean").float()
    keys = {"last": stored.of(case_id, "last").float(), "mean": mean, "encoded": encoder(mean)}
    for kind, values in keys.items():
        points = values.double().numpy()
        distances = np.linalg.norm(points[1:] - points[0], axis=1)
        x, y = principal_plane(points).T
        yield {
            "case_id": case_id,
            "fold": fold,
            "key": kind,
            "radius": radius,
            "to_rephrase": distances[0],
            "to_neighbours": distances[1:],
            "x": x,
            "y": y,
        }


def principal_plane(points: np.ndarray) -> np.ndarray:
    """Project points to their first two principal components.

    Args:
        points: [points, d], at least one.

    Returns:
        [points, 2]; a component without spread is 0. Signs are such that the first point is not negative.
    """
    centred = points - points.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(points), 2))
    count = min(2, len(scale))
    plane[:, :count] = left[:, :count] * scale[:count]
    return plane * np.where(plane[0] < 0, -1.0, 1.0)
