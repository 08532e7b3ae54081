"""Makes the generalization input of each targeted pair (Section III-C, Step 3)."""

from collections.abc import Callable

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

    A variable's new name is that of another variable of the corpus, near in meaning but of another stem.
    """
    found = {pair["pair_id"]: renaming.renameable(pair["input"]) for pair in split.to_dict("records")}
    candidates = _similar_names(list(found.values()), encoder)
    return _renamed(split, lambda _: candidates)


def rename_by_masked_model(split: pd.DataFrame, model: MaskedModel) -> pd.DataFrame:
    """Rename the variables of the targeted functions (schema REPHRASES); those without any are left out.

    A variable's new name is one that a masked model finds likely in its place, but of another stem.
    """
    return _renamed(split, lambda code: model.candidates(code, renaming.renameable(code)).__getitem__)


def _renamed(split: pd.DataFrame, candidates_in: Callable[[str], Callable[[str], list[str]]]) -> pd.DataFrame:
    targeted = split[split["targeted"]].to_dict("records")
    rows = []
    with Progress("rename variables", len(targeted), "function") as progress:
        for pair in targeted:
            names = renaming.renameable(pair["input"])
            if names:
                mapping = renaming.choose_names(pair["input"], names, candidates_in(pair["input"]))
                if mapping:
                    try:
                        rephrase = renaming.rename(pair["input"], mapping)
                        rows.append({"pair_id": pair["pair_id"], "rephrase": rephrase})
                    except ValueError:
                        pass  # the check of the compiled program said no: the pair is left out
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
