"""Makes the generalization input of each targeted pair (Section III-C, Step 3)."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pandas as pd

from clme.datasets import renaming
from clme.datasets.encoder import Encoder
from clme.datasets.grading import spoken
from clme.datasets.masked import MaskedModel
from clme.datasets.neighbours import nearest
from clme.datasets.rewriting import rewrite
from clme.datasets.services import Service, prompt
from clme.progress import Progress
from clme.randomness import generator

PROMPT = "rewrite-1"
REWRITE_TOKENS = 128
CANDIDATES = 50
MIN_FUNCTIONS = 2
POOL = 10_000
"""Non-targeted functions whose variables are candidates: more take long and add little."""


def rewrite_intents(split: pd.DataFrame, dataset: str, folds: int, seed: int) -> pd.DataFrame:
    """Rewrite the targeted intents (schema REPHRASES); those that can't be rewritten are left out.

    Folds alternate along the pairs that can be rewritten, as they do in the cases made from them.
    """
    rows: list[dict[str, str]] = []
    for pair in split[split["targeted"]].to_dict("records"):
        random = generator(seed, "rewrite", dataset, pair["pair_id"])
        rephrase = rewrite(pair["input"], len(rows) % folds, random)
        if rephrase is not None:
            rows.append({"pair_id": pair["pair_id"], "rephrase": rephrase})
    return pd.DataFrame(rows, columns=["pair_id", "rephrase"])


def prompts(split: pd.DataFrame) -> list[str]:
    """Return what a service is asked about each targeted intent."""
    text = prompt(PROMPT)
    return [text.format(intent=intent) for intent in split.loc[split["targeted"], "input"]]


def rewrite_by_service(split: pd.DataFrame, service: Service) -> pd.DataFrame:
    """Rewrite the targeted intents by a language model (schema REPHRASES).

    Answers that are empty, of several lines or the same as the intent are left out.

    Raises:
        UserError: the service can't be asked.
    """
    targeted = split[split["targeted"]]
    answers = service.ask(prompts(split), "rewrite")
    rows = [
        {"pair_id": pair_id, "rephrase": answer}
        for pair_id, intent, answer in zip(targeted["pair_id"], targeted["input"], answers, strict=True)
        if answer and "\n" not in answer and _plain(answer) != _plain(intent)
    ]
    return pd.DataFrame(rows, columns=["pair_id", "rephrase"])


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".?!")


def rename_variables(split: pd.DataFrame, encoder: Encoder) -> pd.DataFrame:
    """Rename the variables of the targeted functions (schema REPHRASES); those without any are left out.

    A variable's new name is that of another variable of the corpus, near in meaning but of another stem. The
    names of the targeted functions and of `POOL` others are candidates.
    """
    targeted, others = split[split["targeted"]], split[~split["targeted"]].head(POOL)
    functions = _functions(targeted)
    candidates = _similar_names([found for *_, found in functions + _functions(others)], encoder)
    return _renamed(functions, lambda *_: candidates)


def rename_by_masked_model(split: pd.DataFrame, model: MaskedModel) -> pd.DataFrame:
    """Rename the variables of the targeted functions (schema REPHRASES); those without any are left out.

    A variable's new name is one that a masked model finds likely in its place, but of another stem.
    """
    functions = _functions(split[split["targeted"]])
    return _renamed(functions, lambda code, names: model.candidates(code, names).__getitem__)


def _functions(pairs: pd.DataFrame) -> list[tuple[str, str, list[str]]]:
    """Return each pair's identifier, its code, and the variables that can be renamed in it."""
    found = []
    with Progress("find variables", len(pairs), "function") as progress:
        for pair_id, code in zip(pairs["pair_id"], pairs["input"], strict=True):
            found.append((pair_id, code, renaming.renameable(code)))
            progress.advance()
    return found


def _renamed(
    functions: list[tuple[str, str, list[str]]],
    candidates_in: Callable[[str, list[str]], Callable[[str], list[str]]],
) -> pd.DataFrame:
    rows = []
    with Progress("rename variables", len(functions), "function") as progress:
        for pair_id, code, names in functions:
            mapping = renaming.choose_names(code, names, candidates_in(code, names)) if names else {}
            if mapping:
                # A ValueError: the check of the compiled program said no, and the pair is left out.
                with suppress(ValueError):
                    rows.append({"pair_id": pair_id, "rephrase": renaming.rename(code, mapping)})
            progress.advance()
    return pd.DataFrame(rows, columns=["pair_id", "rephrase"])


def _similar_names(variables: list[list[str]], encoder: Encoder) -> Callable[[str], list[str]]:
    """Return a function from a variable to the corpus' variables, the most similar first."""
    counts = pd.Series([name for names in variables for name in names]).value_counts()
    names = sorted(counts.index)
    vectors = encoder.embed([spoken(name) for name in names], "embed variables")
    # New names are words that several functions use: rare ones are often abbreviations.
    common = [number for number, name in enumerate(names) if counts[name] >= MIN_FUNCTIONS and len(name) > 1]
    pool = np.array(common if common else range(len(names)))
    wanted = min(CANDIDATES, len(pool))
    indices, _ = nearest(vectors, vectors[pool], wanted)
    number = {name: place for place, name in enumerate(names)}
    return lambda name: [names[pool[index]] for index in indices[number[name]]]
