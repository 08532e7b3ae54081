"""Five-level relevance of intent and code (Section III-C, Step 1) without a language-model service."""

import re

import numpy as np
import pandas as pd

from clme.datasets.encoder import Encoder

LEVELS = ("Very Irrelevant", "Irrelevant", "Neutral", "Relevant", "Very Relevant")
EDGES = (0.07, 0.19, 0.23, 0.43)
"""Cosine similarities between the levels, chosen on hand-labelled pairs."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def spoken(code: str) -> str:
    """Split a code's identifiers into words, which the encoder was trained on."""
    return " ".join(re.findall(r"[A-Za-z]+|\d+|[^\w\s]", _CAMEL.sub(" ", code).replace("_", " ")))


def grade(pairs: pd.DataFrame, encoder: Encoder) -> pd.DataFrame:
    """Grade each pair by the cosine of intent and code (schema GRADED)."""
    intents = encoder.embed(pairs["input"].tolist(), "embed intents")
    codes = encoder.embed([spoken(code) for code in pairs["target"]], "embed snippets")
    similarity = (intents * codes).sum(axis=1, dtype=np.float64)
    levels = [LEVELS[number] for number in np.searchsorted(EDGES, similarity, side="right")]
    return pairs.assign(similarity=similarity, grade=levels)


def relevant(graded: pd.DataFrame) -> pd.DataFrame:
    """Keep the pairs of the highest level."""
    return graded[graded["grade"] == LEVELS[-1]].reset_index(drop=True)
