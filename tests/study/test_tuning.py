import json

import pandas as pd

from clme.files import write_parquet
from clme.study import tuning
from clme.study.schema import EDITS, METRIC_COLUMNS


def trial(folder, layer, score, dataset="cnle"):
    """A result file of one case whose metrics are all `score`."""
    texts = dict.fromkeys(["prompt", "rephrase", "target", "error"], "x")
    texts |= dict.fromkeys(["effectiveness_output", "generalization_output"], "x")
    lists = {name: [["x"]] for name in ("specificity_outputs", "specificity_expected", "fluency_texts")}
    row = {**texts, **lists, **dict.fromkeys(METRIC_COLUMNS, score), "fluency": None}
    row |= {"model": "m", "dataset": dataset, "editor": f"grace-{layer}", "fold": 0, "case_id": "a"}
    row |= {"status": "ok", "edit_steps": 1, "edit_loss": None, "edit_seconds": None, "peak_memory_mb": None}
    row |= {"tokens_verified": 0, "tokens_generated": 0}
    settings = {"editor": "grace", "hyperparameters": {"layer": layer}, "seed": 5}
    settings["evaluation"] = {"cases": 1, "skip": 20}
    path = folder / f"{layer}-{dataset}.parquet"
    frame = pd.DataFrame({name: value if name in lists else [value] for name, value in row.items()})
    write_parquet(path, frame, schema=EDITS, metadata={"settings": json.dumps(settings)})
    return path


def test_all_combinations_are_tried():
    assert tuning.trials({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_trials_are_ranked_by_their_mean_over_the_datasets(tmp_path):
    paths = [trial(tmp_path, 9, 0.5), trial(tmp_path, 9, 0.7, "csne")]
    paths += [trial(tmp_path, 12, 0.9), trial(tmp_path, 12, 0.5, "csne")]
    tuning.run(paths, tmp_path / "tuning.md")
    written = (tmp_path / "tuning.md").read_text()
    header, _, *rows = [line.split("|")[1:4] for line in written.splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in row] for row in [header, *rows]] == [
        ["layer", "score", "cnle effectiveness"],
        ["12", "70.0", "90.0 / 90.0"],
        ["9", "60.0", "50.0 / 50.0"],
    ]
    assert "## grace on m" in written
    assert "first 20" in written
