"""Rows of the size of the paper's datasets, for benchmarks: what they say is made up, their size is not."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from clme.datasets.schema import GRADED, PAIRS, REPHRASES, SPLIT
from clme.files import read_parquet, write_parquet

WIDTH = 768


@dataclass(frozen=True)
class Size:
    """How many rows the paper's dataset has at its stages, at a part of it.

    Attributes:
        pairs: of the source.
        relevant: pairs that the grader keeps; all for CSNE.
        different: of these, pairs with different inputs.
        targeted: of these.
    """

    pairs: int
    relevant: int
    different: int
    targeted: int

    def part(self, fraction: float) -> "Size":
        """Return a part of it."""
        return Size(*(round(number * fraction) for number in vars(self).values()))


# Section III-C; CSNE's pairs are those that are left. A service grades CNLE's pairs.
SIZES = {
    "cnle": Size(594_000, 170_487, 126_330, 21_055),
    "csne": Size(334_356, 334_356, 334_356, 16_020),
    "service": Size(594_000, 170_487, 126_330, 21_055),
}


def apart(make: Callable[..., None], *arguments: object) -> None:
    """Call in a process of its own: the peak of a process counts as its children's, too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(make, *arguments).result()


def intents(size: Size) -> Iterator[str]:
    """Yield an intent for each pair; of those that the grader keeps, as many differ as in the paper."""
    verbs = ("get", "sort", "create", "convert", "remove", "check whether", "count", "replace")
    nouns = ("list", "string", "dictionary", "data frame", "array", "file", "column", "date")
    phrases = list(product(verbs, nouns, nouns))
    for number in range(size.pairs):
        value = number % size.different
        verb, noun, other = phrases[value % len(phrases)]
        yield f"{verb} the {noun} of each {other} by its value {value}"


def function(number: int) -> str:
    """Return a function of the length that CodeSearchNet's have on average (about 1,000 characters)."""
    first, second = f"value_{number % 97}", f"count_{number % 89}"
    body = "".join(
        f"    if {first} > {step}:\n        {second} = {second} + items[{first} % len(items)] * {step}\n"
        for step in range(10)
    )
    head = f'def collect_{number}(items, {first}):\n    """Return the total of {number} items."""\n'
    return f"{head}    {second} = 0\n{body}    return {second}\n"


def write_corpus(path: Path, task: str, size: Size) -> None:
    """Write rows in the source's public layout."""
    numbers = range(size.pairs)
    if task == "cnle":
        snippets = [f"values.sort(key=lambda item: item[{number}])" for number in numbers]
        frame = pd.DataFrame({"id": numbers, "intent": list(intents(size)), "snippet": snippets})
    else:
        frame = pd.DataFrame(
            {
                "language": "python",
                "whole_func_string": [function(number) for number in numbers],
                "func_documentation_string": [f"Return the total of {number} items." for number in numbers],
                "split_name": ["test" if number < size.targeted else "train" for number in numbers],
                "func_code_url": [f"https://example.org/{number}" for number in numbers],
            }
        )
    frame.to_parquet(path)


def write_grades(pairs: Path, output: Path, relevant: int) -> None:
    """Write grades of which the first `relevant` are the highest."""
    from clme.datasets.agreement import compare  # these load torch: who asks for sizes only stays small
    from clme.datasets.grading import LEVELS

    frame = read_parquet(pairs, schema=PAIRS)
    grades = [LEVELS[-1] if number < relevant else LEVELS[0] for number in range(len(frame))]
    graded = frame.assign(similarity=0.0, grade=grades)
    agreement = json.dumps(asdict(compare(graded.assign(label=grades))))
    write_parquet(output, graded, schema=GRADED, metadata={"agreement": agreement})


def write_rephrases(split: Path, output: Path) -> None:
    """Write a rephrase of every targeted pair, as the paper has them: all targeted pairs become cases."""
    frame = read_parquet(split, schema=SPLIT)
    targeted = frame[frame["targeted"]]
    rephrases = targeted[["pair_id"]].assign(rephrase=targeted["input"] + " again")
    write_parquet(output, rephrases, schema=REPHRASES, metadata={})


def write_vectors(path: Path, rows: int) -> None:
    """Write random unit vectors [rows, WIDTH]."""
    found = np.random.default_rng(0).standard_normal((rows, WIDTH), dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.save(path, found)
