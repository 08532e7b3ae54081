"""A finished dataset: its cases, and beside them what tables, figures and readers are told of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from clme.datasets import card
from clme.datasets.encoder import Encoder
from clme.datasets.grading import relevant
from clme.datasets.schema import CASES
from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Material, materials_as_json
from clme.files import read_metadata, read_parquet, write_parquet, write_text
from clme.provenance import source_hash


@dataclass(frozen=True)
class History:
    """How cases came about.

    Attributes:
        passed: how many pairs passed each stage.
        materials: what they were made of.
        graded: grades and the grader's agreement with labels; None where nothing was graded.
    """

    passed: Mapping[str, int]
    materials: Sequence[Material]
    graded: card.Graded | None = None


def history(stages: Path, split: pd.DataFrame, cases: pd.DataFrame, settings: DatasetSettings) -> History:
    """Read the history of cases out of the folder of their stages.

    Args:
        stages: has a Parquet file of each stage.
        split: schema SPLIT.
        cases: schema CASES.
        settings: the dataset's.

    Raises:
        UserError: a stage's file is missing or damaged.
    """
    names = ["extract", "filter", *(["grade"] if settings.task == "cnle" else []), "deduplicate"]
    frames = {stage: read_parquet(stages / f"{stage}.parquet") for stage in names} | {"split": split}
    graded = None
    if "grade" in frames:
        agreed = read_metadata(stages / "grade.parquet")["agreement"]
        graded = card.Graded(card.grades(frames["grade"]), json.loads(agreed))
        frames["grade"] = relevant(frames["grade"])
    listed = json.loads(read_metadata(stages / "extract.parquet").get("materials", "[]"))
    return History(card.counts(frames, cases), [Material(**one) for one in listed], graded)


def write(
    output: Path,
    dataset: str,
    settings: DatasetSettings,
    seed: int,
    cases: pd.DataFrame,
    past: History,
    encoder: Encoder,
    published: Path,
) -> None:
    """Write the cases; beside them the card README.md, stages.json and statistics.json.

    Args:
        output: the cases' Parquet file.
        dataset: its name.
        settings: how it was built.
        seed: the study's seed.
        cases: schema CASES.
        past: how they came about.
        encoder: counts tokens.
        published: the CSV of the paper's Table III.

    Raises:
        UserError: a file can't be written.
    """
    measured = card.lengths(cases, encoder)
    text = card.render(
        dataset, settings, cases, past.passed, past.graded, measured, past.materials, published
    )
    described = {**(vars(past.graded) if past.graded else {"grades": None}), "lengths": measured}
    write_text(output.with_name("stages.json"), json.dumps(past.passed, indent=2) + "\n")
    write_text(output.with_name("statistics.json"), json.dumps(described, indent=2) + "\n")
    write_text(output.with_name("README.md"), text)
    about = {
        "dataset": dataset,
        "settings": settings.model_dump_json(),
        "seed": str(seed),
        "source_hash": source_hash(card.__name__),
        "materials": materials_as_json(past.materials),
    }
    write_parquet(output, cases, schema=CASES, metadata=about)
