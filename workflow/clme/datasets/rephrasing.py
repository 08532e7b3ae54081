"""Makes the generalization input of each targeted pair (Section III-C, Step 3)."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from clme.datasets import renaming
from clme.datasets.encoder import Encoder
from clme.datasets.grading import spoken
from clme.datasets.neighbours import nearest
from clme.datasets.rewriting import rewrite
from clme.progress import Progress
from clme.randomness import generator

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


def rename_variables(split: pd.DataFrame, encoder: Encoder) -> pd.DataFrame:
    """Rename the variables of the targeted functions (schema REPHRASES); those without any are left out.

    A variable's new name is that of another variable of the corpus, near in meaning but of another stem.
    """
    found = {pair["pair_id"]: renaming.renameable(pair["input"]) for pair in split.to_dict("records")}
    candidates = _similar_names(list(found.values()), encoder)
    targeted = split[split["targeted"]].to_dict("records")
    rows = []
    with Progress("rename variables", len(targeted), "function") as progress:
        for pair in targeted:
            mapping = renaming.choose_names(pair["input"], found[pair["pair_id"]], candidates)
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
