"""The stages that need no model: extract, filter, deduplicate, split."""

import ast
import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Corpus, source
from clme.errors import UserError
from clme.randomness import generator

SPECIAL_TOKENS = 2
"""What encoders add to a text."""


def extract(folder: Path, dataset: str, settings: DatasetSettings, seed: int) -> pd.DataFrame:
    """Read a source's pairs (schema PAIRS); with `limit`, a random choice of them.

    Raises:
        UserError: the source holds no pairs, or is for another task.
    """
    chosen = source(settings.source)
    if settings.task not in chosen.tasks:
        raise UserError(
            f"datasets.{dataset}: source {settings.source} is for {', '.join(chosen.tasks)}, not for"
            f" {settings.task}"
        )
    if not isinstance(chosen, Corpus):
        raise UserError(f"datasets.{dataset}: source {settings.source} holds finished cases, not pairs")
    rows = [vars(pair) for pair in chosen.pairs(folder, settings)]
    if not rows:
        raise UserError(f"datasets.{dataset}: source {settings.source} in {folder} holds no pairs")
    frame = pd.DataFrame(rows)
    if settings.limit is not None and settings.limit < len(frame):
        order = generator(seed, "limit", settings.source).permutation(len(frame))
        frame = frame.iloc[sorted(order[: settings.limit])].reset_index(drop=True)
    frame.insert(0, "pair_id", [f"{settings.source}-{number:06d}" for number in range(len(frame))])
    return frame


def keep_usable(
    pairs: pd.DataFrame, settings: DatasetSettings, count: Callable[[Sequence[str]], np.ndarray]
) -> pd.DataFrame:
    """Leave out pairs that are empty or too long, or whose code doesn't parse (Section III-C, Step 1).

    Args:
        pairs: schema PAIRS.
        settings: the dataset's.
        count: numbers of tokens of texts, which have no more tokens than bytes but for special ones.
    """
    trimmed = pairs.assign(input=pairs["input"].str.strip(), target=pairs["target"].str.strip())
    code = trimmed["target"] if settings.task == "cnle" else trimmed["input"]
    usable = (trimmed["input"] != "") & (trimmed["target"] != "")
    if settings.must_parse:
        usable &= code.map(_parses).astype(bool)
    kept = trimmed[usable]
    kept = kept[_within(kept["input"], settings.max_input_tokens, count)]
    if settings.max_target_tokens is not None:
        kept = kept[_within(kept["target"], settings.max_target_tokens, count)]
    return kept.reset_index(drop=True)


def _within(texts: pd.Series, most: int, count: Callable[[Sequence[str]], np.ndarray]) -> np.ndarray:
    """Tell which texts have no more than `most` tokens; those with as few bytes need not be counted."""
    sizes = texts.map(lambda text: len(text.encode())).to_numpy(dtype=np.int64)
    within = sizes + SPECIAL_TOKENS <= most
    unsure = np.flatnonzero(~within)
    if len(unsure):
        within[unsure] = count(texts.iloc[unsure].tolist()) <= most
    return within


def _parses(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def deduplicate(pairs: pd.DataFrame) -> pd.DataFrame:
    """Keep the first of the pairs whose inputs are the same up to case and white space."""
    keys = pd.Series([_key(text) for text in pairs["input"]], index=pairs.index, dtype=object)
    return pairs[~keys.duplicated()].reset_index(drop=True)


def _key(text: str) -> bytes:
    """Return what is the same of equal inputs: a digest, for all words of all functions take 5 GB."""
    return hashlib.sha256(" ".join(text.lower().split()).encode()).digest()


def split(pairs: pd.DataFrame, dataset: str, settings: DatasetSettings, seed: int) -> pd.DataFrame:
    """Mark the targeted pairs (schema SPLIT), and put all pairs in the dataset's seeded order.

    The targeted are the source's test split; of a source without one, a random part (Step 2).

    Raises:
        UserError: no pair is targeted, or too few are left as neighbours.
    """
    order = generator(seed, "split", dataset).permutation(len(pairs))
    shuffled = pairs.iloc[order].reset_index(drop=True)
    if (shuffled["split"] == "test").any():
        targeted = shuffled["split"] == "test"
    else:
        targeted = pd.Series(range(len(shuffled))) < round(len(shuffled) * settings.targeted_fraction)
    others = int((~targeted).sum())
    if not targeted.any() or others < settings.neighbours:
        raise UserError(
            f"datasets.{dataset}: {int(targeted.sum())} targeted and {others} non-targeted pairs are left;"
            f" at least 1 and {settings.neighbours} are needed: raise `limit` or take a larger source"
        )
    return shuffled.assign(targeted=targeted)
