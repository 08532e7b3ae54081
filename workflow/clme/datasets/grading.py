"""Five-level relevance of intent and code (Section III-C, Step 1), by a service or by an embedding."""

import re

import numpy as np
import pandas as pd

from clme.datasets.encoder import Encoder
from clme.datasets.services import Service, prompt
from clme.errors import UserError

LEVELS = ("Very Irrelevant", "Irrelevant", "Neutral", "Relevant", "Very Relevant")
EDGES = (0.07, 0.19, 0.23, 0.43)
"""Cosine similarities between the levels, chosen on hand-labelled pairs."""

BLOCK = 100_000
"""Pairs that are embedded at a time: bounds memory to about 1 GB with 768 dimensions."""

PROMPT = "grade-1"
GRADE_TOKENS = 8
UNGRADED = "Ungraded"
"""What a pair gets whose answer is none of the levels; it is left out."""
MOST_UNGRADED = 0.05

_LEVEL = re.compile(r"(very\s+)?(ir)?relevant|neutral", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def spoken(code: str) -> str:
    """Split a code's identifiers into words, which the encoder was trained on."""
    return " ".join(re.findall(r"[A-Za-z]+|\d+|[^\w\s]", _CAMEL.sub(" ", code).replace("_", " ")))


def grade(pairs: pd.DataFrame, encoder: Encoder) -> pd.DataFrame:
    """Grade each pair by the cosine of intent and code (schema GRADED)."""
    similarity = np.empty(len(pairs))
    for start in range(0, len(pairs), BLOCK):
        block = pairs.iloc[start : start + BLOCK]
        intents = encoder.embed(block["input"].tolist(), "embed intents")
        codes = encoder.embed([spoken(code) for code in block["target"]], "embed snippets")
        similarity[start : start + BLOCK] = (intents * codes).sum(axis=1, dtype=np.float64)
    levels = [LEVELS[number] for number in np.searchsorted(EDGES, similarity, side="right")]
    return pairs.assign(similarity=similarity, grade=levels)


def prompts(pairs: pd.DataFrame) -> list[str]:
    """Return what a service is asked about each pair."""
    text = prompt(PROMPT)
    return [
        text.format(intent=intent, code=code)
        for intent, code in zip(pairs["input"], pairs["target"], strict=True)
    ]


def grade_by_service(pairs: pd.DataFrame, service: Service) -> pd.DataFrame:
    """Grade each pair by a language model (schema GRADED; there is no similarity).

    Raises:
        UserError: the service can't be asked, or too many of its answers are none of the levels.
    """
    answers = service.ask(prompts(pairs), "grade")
    grades = [level(answer) for answer in answers]
    strange = [answer for answer, found in zip(answers, grades, strict=True) if found == UNGRADED]
    if len(strange) > MOST_UNGRADED * len(answers):
        raise UserError(
            f"{len(strange)} of {len(answers)} answers of the grader are none of {', '.join(LEVELS)},"
            f" such as {strange[0][:60]!r}; choose another model"
        )
    return pairs.assign(similarity=np.nan, grade=grades)


def level(answer: str) -> str:
    """Return the level that an answer names; `UNGRADED` if it names none, or several."""
    found = {" ".join(match[0].split()).title() for match in _LEVEL.finditer(answer)}
    return found.pop() if len(found) == 1 else UNGRADED


def relevant(graded: pd.DataFrame) -> pd.DataFrame:
    """Keep the pairs of the highest level."""
    return graded[graded["grade"] == LEVELS[-1]].reset_index(drop=True)
