"""The dataset card: what a dataset is, how it came about, and what it looks like."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd

from clme.datasets import grading, rephrasing
from clme.datasets.agreement import kept_share
from clme.datasets.encoder import Encoder
from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Material

SUBJECTS = {
    "cnle": "an intent in English; the target is a Python snippet (NL2PL)",
    "csne": "a Python function; the target is its description (PL2NL)",
}
STAGES = {
    "extract": "pairs of the source",
    "filter": "parse, are not empty and not too long",
    "grade": "are graded Very Relevant",
    "deduplicate": "have different inputs",
    "targeted": "are targeted",
    "cases": "could be rephrased: the cases",
}


@dataclass(frozen=True)
class Graded:
    """What the card tells of grading.

    Attributes:
        grades: how many pairs have each grade, from `grades`.
        agreement: with hand labels, from `agreement.measure`.
    """

    grades: Mapping[str, int]
    agreement: Mapping[str, float]


def counts(stages: Mapping[str, pd.DataFrame], cases: pd.DataFrame) -> dict[str, int]:
    """Return how many pairs passed each stage.

    Args:
        stages: the stages' pairs by name, ``split`` among them.
        cases: schema CASES.
    """
    found = {name: len(frame) for name, frame in stages.items() if name != "split"}
    targeted = int(stages["split"]["targeted"].sum())
    return {
        **found,
        "targeted": targeted,
        "non_targeted": len(stages["split"]) - targeted,
        "cases": len(cases),
    }


def grades(graded: pd.DataFrame) -> dict[str, int]:
    """Return how many pairs have each grade, from the lowest, as Table II has them."""
    found = graded["grade"].value_counts()
    return {level: int(found.get(level, 0)) for level in grading.LEVELS}


def lengths(cases: pd.DataFrame, encoder: Encoder) -> list[dict[str, object]]:
    """Return mean and median length in tokens of each role, as Table III has them."""
    texts = {
        "effectiveness_input": cases["prompt"].tolist(),
        "generalization_input": cases["rephrase"].tolist(),
        "specificity_input": [text for texts in cases["neighbours"] for text in texts],
        "edit_target": cases["target"].tolist(),
    }
    return [length(role, values, encoder) for role, values in texts.items()]


def length(role: str, texts: Sequence[str], encoder: Encoder) -> dict[str, object]:
    """Return mean and median length of texts, in tokens of the encoder without its special ones."""
    numbers = (encoder.counts(texts) - encoder.special).tolist()
    return {
        "role": role,
        "mean": statistics.fmean(numbers),
        "median": statistics.median(numbers),
        "count": len(numbers),
    }


def render(
    dataset: str,
    settings: DatasetSettings,
    cases: pd.DataFrame,
    passed: Mapping[str, int],
    graded: Graded | None,
    measured: list[dict[str, object]],
    materials: Sequence[Material],
    published: Path,
) -> str:
    """Write the card in Markdown.

    Args:
        dataset: its name.
        settings: how it was built.
        cases: schema CASES.
        passed: from `counts`.
        graded: None where nothing was graded.
        measured: from `lengths`.
        materials: what it was made of.
        published: the CSV of the paper's Table III.
    """
    table = pd.read_csv(published)
    paper = {
        row["role"]: row for row in table.to_dict("records") if str(row["dataset"]).lower() == settings.task
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clme.datasets"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("card.md").render(
        dataset=dataset,
        subject=SUBJECTS[settings.task],
        settings=json.dumps(settings.model_dump(), indent=2),
        how=settings,
        edges=", ".join(map(str, grading.EDGES)),
        prompts={"grade": grading.PROMPT, "rewrite": rephrasing.PROMPT},
        materials=materials,
        task=settings.task,
        source=settings.source,
        passed=passed,
        graded=graded,
        same=kept_share(graded.agreement) if graded else None,
        stages={name: said for name, said in STAGES.items() if name in passed},
        measured=measured,
        paper=paper,
        examples=cases.head(2).to_dict("records"),
    )
