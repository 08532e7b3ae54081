"""The search for a model's hyperparameters, on cases that are not in the study."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clme.files import read_metadata, read_parquet, write_text
from clme.study.schema import DIMENSIONS, EDITS

SCORED = "rougeL"


def trials(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return all combinations of an editor's hyperparameters, the last key changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def run(paths: Sequence[Path], output: Path) -> None:
    """Write what was tried as a Markdown table for each model and editor, the best first.

    The score is that of Meng et al. (2022): the harmonic mean of effectiveness, generalization and
    specificity, here of their ROUGE-L, averaged over the datasets.

    Args:
        paths: result files of edit jobs; those of one trial differ in dataset and fold only.
        output: the Markdown file.
    """
    rows = pd.concat([_trial(path) for path in paths], ignore_index=True)
    parts = ["# Hyperparameters that were tried\n", _HEAD.format(**_cases(paths))]
    for (model, editor), tried in rows.groupby(["model", "editor"], sort=False):
        parts.append(f"\n## {editor} on {model}\n\n{_markdown(_ranked(tried))}")
    write_text(output, "\n".join(parts))


_HEAD = (
    "Each line was run on {cases} cases of each dataset that are not in the study (those after the first"
    " {skip}), with seed {seed}. The score is the mean over the datasets of the harmonic mean of"
    " effectiveness, generalization and specificity (ROUGE-L); EM and ROUGE-L are in percent.\n"
)


def _cases(paths: Sequence[Path]) -> dict[str, Any]:
    settings = json.loads(read_metadata(paths[0])["settings"])
    return {**settings["evaluation"], "seed": settings["seed"]}


def _trial(path: Path) -> pd.DataFrame:
    """Return the cases of a result file with the hyperparameters that made them."""
    frame = read_parquet(path, schema=EDITS)
    settings = json.loads(read_metadata(path)["settings"])
    columns = [f"{name}_{metric}" for name in DIMENSIONS for metric in ("em", SCORED)]
    frame["hyperparameters"] = json.dumps(settings["hyperparameters"], sort_keys=True)
    frame["editor"] = settings["editor"]  # a trial's row has a name of its own
    frame["failed"] = frame["status"] == "failed"
    kept = ["model", "editor", "dataset", "hyperparameters", "failed", *columns]
    return frame[kept]


def _ranked(tried: pd.DataFrame) -> pd.DataFrame:
    """Return one row per set of hyperparameters: its score and the metrics of each dataset."""
    columns = [f"{name}_{metric}" for name in DIMENSIONS for metric in ("em", SCORED)]
    means = tried.groupby(["hyperparameters", "dataset"])[columns].mean()
    graded = means[[f"{name}_{SCORED}" for name in DIMENSIONS]].clip(lower=1e-9)
    means["score"] = len(DIMENSIONS) / (1 / graded).sum(axis=1)
    table = pd.DataFrame({"score": 100 * means.groupby("hyperparameters")["score"].mean()})
    for dataset in dict.fromkeys(tried["dataset"]):
        for name in DIMENSIONS:
            pair = 100 * means.xs(dataset, level="dataset")[[f"{name}_em", f"{name}_{SCORED}"]]
            table[f"{dataset} {name}"] = [f"{em:.1f} / {rouge:.1f}" for em, rouge in pair.to_numpy()]
    table["failed"] = tried.groupby("hyperparameters")["failed"].sum()
    return table.sort_values("score", ascending=False).reset_index()


def _markdown(table: pd.DataFrame) -> str:
    parsed = [json.loads(text) for text in table.pop("hyperparameters")]
    names = list(dict.fromkeys(name for one in parsed for name in one))
    shown = pd.DataFrame([{name: str(one.get(name, "")) for name in names} for one in parsed], dtype=str)
    columns = [*shown.columns, *table.columns]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for left, right in zip(shown.to_dict("records"), table.to_dict("records"), strict=True):
        cells = [*left.values(), *(f"{v:.1f}" if isinstance(v, float) else str(v) for v in right.values())]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
