"""What the report's case browser shows, packed for a page."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from clme.datasets.schema import CASES
from clme.files import read_parquet
from clme.publish import names
from clme.publish.results import Results
from clme.study.schema import DIMENSIONS

SCORES = [f"{dimension}_{metric}" for metric in ("em", "rougeL") for dimension in DIMENSIONS]
_NEIGHBOURS = pa.schema([CASES.field("case_id"), CASES.field("neighbours")])


def pack(data: Any) -> str:
    """Return data as base64 of gzipped JSON; equal data give equal text."""
    plain = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(plain, mtime=0)).decode()


def content(results: Results) -> dict[str, Any]:
    """Return all cases with their results.

    ``cases``: the texts of each case. ``expected``: what each unedited model says to the neighbours, by model
    and case. ``rows``: one list per edit: case, model and editor by number, error, the outputs for request
    and rephrase, the changed outputs for neighbours by their number, and the scores in percent (`SCORES`).
    """
    numbers: dict[tuple[str, str], int] = {}
    cases: list[dict[str, Any]] = []
    expected: list[dict[int, list[str]]] = [{} for _ in results.models]
    rows: list[list[Any]] = []
    editors = results.editors()
    for dataset in results.datasets:
        path = results.folder / "datasets" / dataset / "cases.parquet"
        near = read_parquet(path, schema=_NEIGHBOURS)
        neighbours = dict(zip(near["case_id"], near["neighbours"], strict=True))
        for model_number, model in enumerate(results.models):
            for editor_number, editor in enumerate(editors):
                for row in results.edits(model, dataset, editor).to_dict("records"):
                    key = (dataset, row["case_id"])
                    if key not in numbers:
                        numbers[key] = len(cases)
                        cases.append(_case(dataset, row, neighbours[row["case_id"]]))
                    number = numbers[key]
                    before = [str(text) for text in row["specificity_expected"]]
                    expected[model_number].setdefault(number, before)
                    rows.append([number, model_number, editor_number, *_result(row, before)])
    rows.sort(key=lambda row: row[:3])
    return {
        "models": list(results.models.values()),
        "editors": [names.editor(name) for name in editors],
        "unedited": editors.index(names.UNEDITED) if names.UNEDITED in editors else None,
        "datasets": results.datasets,
        "scores": SCORES,
        "cases": cases,
        "expected": expected,
        "rows": rows,
    }


def _case(dataset: str, row: Mapping[Any, Any], neighbours: Any) -> dict[str, Any]:
    texts = {name: row[name] for name in ("prompt", "rephrase", "target")}
    return {"id": row["case_id"], "dataset": dataset, **texts, "neighbours": list(neighbours)}


def _result(row: Mapping[Any, Any], before: list[str]) -> list[Any]:
    outputs = [str(text) for text in row["specificity_outputs"]]
    changed = {number: text for number, text in enumerate(outputs) if text != before[number]}
    scores = [round(100 * row[name], 1) for name in SCORES]
    return [row["error"], row["effectiveness_output"], row["generalization_output"], changed, *scores]
