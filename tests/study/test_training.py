"""How training went, as one table of all states."""

import pytest
import torch

from clme.errors import UserError
from clme.files import read_parquet
from clme.study import training
from clme.study.schema import TRAINING
from clme.tensors import write_tensors


def state(path, editor, curve, fold=0):
    settings = {"model": "tiny", "dataset": "words", "editor": editor, "fold": fold}
    write_tensors(path, {"x": torch.zeros(1)}, {"settings": settings, "curve": curve})
    return path


def test_curves_of_steps_and_of_epochs_become_rows(tmp_path):
    first = state(tmp_path / "a", "malmen", [{"step": 0.0, "loss": 3.0}, {"step": 5.0, "loss": 1.0}])
    second = state(tmp_path / "b", "a_grace", [{"epoch": 1, "loss": 2.0, "accuracy": 0.5}], fold=1)
    training.run([first, second], tmp_path / "out.parquet")
    found = read_parquet(tmp_path / "out.parquet", schema=TRAINING)
    rows = found[["editor", "fold", "step", "quantity", "value"]].to_numpy().tolist()
    # Of one step, the order is the metadata's.
    assert sorted(rows, key=lambda row: row[1:4]) == [
        ["malmen", 0, 0.0, "loss", 3.0],
        ["malmen", 0, 5.0, "loss", 1.0],
        ["a_grace", 1, 1.0, "accuracy", 0.5],
        ["a_grace", 1, 1.0, "loss", 2.0],
    ]


def test_no_states_are_no_rows(tmp_path):
    training.run([], tmp_path / "out.parquet")
    assert len(read_parquet(tmp_path / "out.parquet", schema=TRAINING)) == 0


def test_a_file_without_a_curve_is_named(tmp_path):
    write_tensors(tmp_path / "x", {"x": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="x: holds no training's curve"):
        training.run([tmp_path / "x"], tmp_path / "out.parquet")
