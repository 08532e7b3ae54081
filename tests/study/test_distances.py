"""Distances between keys, from files as `clme prepare` writes them."""

import numpy as np
import pandas as pd
import pytest
import torch

from clme.datasets.schema import CASES
from clme.errors import UserError
from clme.files import read_parquet, write_parquet
from clme.study import distances
from clme.study.schema import DISTANCES
from clme.tensors import write_tensors

IDS = ["a", "b"]


@pytest.fixture
def files(tmp_path):
    """Representations of two cases in two folds, an encoder for each fold, and the cases."""
    generator = torch.Generator().manual_seed(0)
    last, mean = (torch.randn(8, 6, generator=generator) for _ in range(2))
    starts = torch.tensor([0, 4, 8])
    paths = {"representations": tmp_path / "r.safetensors", "cases": tmp_path / "cases.parquet"}
    write_tensors(paths["representations"], {"last": last, "mean": mean, "starts": starts}, {"case_ids": IDS})
    weights = [(torch.randn(3, 6, generator=generator), torch.randn(2, 3, generator=generator)) for _ in IDS]
    paths["states"] = [tmp_path / f"state{fold}.safetensors" for fold in range(2)]
    for fold, (first, second) in enumerate(weights):
        about = {"fold": fold, "need": {"slope": 0.5, "radius": 1.5}}
        write_tensors(paths["states"][fold], {"first": first, "second": second}, about)
    rows = [
        {
            "case_id": case_id,
            "fold": fold,
            **dict.fromkeys(("prompt", "rephrase", "target", "origin"), "x"),
            "neighbours": ["x", "y"],
            "neighbour_ids": ["n", "m"],
            "neighbour_similarity": [0.5, 0.4],
        }
        for fold, case_id in enumerate(IDS)
    ]
    write_parquet(paths["cases"], pd.DataFrame(rows), schema=CASES, metadata={})
    return paths, last, mean, weights


def test_keys_are_the_last_token_the_mean_and_the_mean_under_the_folds_encoder(files, tmp_path):
    paths, last, mean, weights = files
    distances.run(paths["representations"], paths["states"], paths["cases"], tmp_path / "out.parquet")
    found = read_parquet(tmp_path / "out.parquet", schema=DISTANCES).set_index(["case_id", "key"])
    assert len(found) == 6
    assert set(found["radius"]) == {1.5}
    for fold, case_id in enumerate(IDS):
        rows = slice(4 * fold, 4 * fold + 4)
        first, second = weights[fold]
        hidden = mean[rows] @ first.T
        encoded = torch.where(hidden > 0, hidden, 0.5 * hidden) @ second.T
        for key, values in (("last", last[rows]), ("mean", mean[rows]), ("encoded", encoded)):
            expected = (values[1:] - values[0]).norm(dim=1).tolist()
            row = found.loc[(case_id, key)]
            assert [row["to_rephrase"], *row["to_neighbours"]] == pytest.approx(expected, rel=1e-5)
            assert len(row["x"]) == len(row["y"]) == 4


def test_the_principal_plane_keeps_the_distances_of_points_in_a_plane():
    random = np.random.default_rng(0)
    flat = random.normal(size=(5, 2)) @ random.normal(size=(2, 7)) + 3
    plane = distances.principal_plane(flat)
    expected = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    assert np.linalg.norm(plane[:, None] - plane[None], axis=2) == pytest.approx(expected)
    assert (plane[0] >= 0).all()


def test_a_single_point_is_at_the_origin():
    assert distances.principal_plane(np.ones((1, 4))).tolist() == [[0.0, 0.0]]


def test_encoders_of_different_radii_are_refused(files, tmp_path):
    paths, *_ = files
    weights = {"first": torch.ones(3, 6), "second": torch.ones(2, 3)}
    write_tensors(paths["states"][1], weights, {"fold": 1, "need": {"slope": 0.5, "radius": 2.0}})
    with pytest.raises(UserError, match="different radii"):
        distances.run(paths["representations"], paths["states"], paths["cases"], tmp_path / "out.parquet")


def test_representations_of_other_cases_are_refused(files, tmp_path):
    paths, last, mean, _ = files
    tensors = {"last": last, "mean": mean, "starts": torch.tensor([0, 4, 8])}
    write_tensors(paths["representations"], tensors, {"case_ids": ["c", "d"]})
    with pytest.raises(UserError, match="none of the cases"):
        distances.run(paths["representations"], paths["states"], paths["cases"], tmp_path / "out.parquet")
