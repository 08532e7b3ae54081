"""How things are called in print."""

from collections.abc import Iterable, Mapping

UNEDITED = "none"

EDITORS: Mapping[str, str] = {
    UNEDITED: "Unedited",
    "ft_l": "FT-L",
    "rome": "ROME",
    "memit": "MEMIT",
    "pmet": "PMET",
    "malmen": "MALMEN",
    "grace": "GRACE",
    "a_grace": "A-GRACE",
    "a_grace_wo_cl": "w/o CL",
    "a_grace_wo_mean": "w/o mean",
}
"""The paper's editors, in the order of its tables."""

CATEGORIES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Global optimization": (("ft_l",), ("malmen",)),
    "Local modification": (("rome",), ("memit", "pmet")),
    "External memorization": (("grace", "a_grace"), ()),
}
"""Editors of one and of several layers in each of the paper's categories (Table I)."""

TABLE_4 = ("ft_l", "rome", "memit", "pmet", "malmen", "grace")
TABLE_6 = ("grace", "a_grace", "a_grace_wo_cl", "a_grace_wo_mean")

TASKS: Mapping[str, str] = {"cnle": "NL2PL", "csne": "PL2NL"}

DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "effectiveness": ("em", "bleu", "rougeL"),
    "generalization": ("em", "bleu", "rougeL"),
    "specificity": ("em", "bleu", "rougeL"),
    "fluency": ("ngram_entropy_x100",),
}
"""The columns of Tables IV and VI."""

METRICS: Mapping[str, str] = {
    "em": "exact match",
    "bleu": "BLEU",
    "rougeL": "ROUGE-L",
    "ngram_entropy_x100": "n-gram entropy",
}

SHORT: Mapping[str, str] = {"em": "EM", "bleu": "BLEU", "rougeL": "ROUGE-L", "ngram_entropy_x100": ""}

SHORT_METRICS: Mapping[str, str] = {"em": "EM", "bleu": "BU", "rougeL": "RL", "ngram_entropy_x100": ""}


def editor(name: str) -> str:
    """Return an editor's name in print; one that isn't the paper's is called as it is registered."""
    return EDITORS.get(name, name)


def in_order(editors: Iterable[str]) -> list[str]:
    """Return `editors` in the paper's order, others after them."""
    place = {name: number for number, name in enumerate(EDITORS)}
    return sorted(editors, key=lambda name: (place.get(name, len(place)), name))


def metric(dimension: str, name: str) -> str:
    """Return a measure's name in print, such as ``effectiveness EM``."""
    return f"{dimension} {SHORT[name]}".strip()


def dataset(name: str, task: str) -> str:
    """Return a dataset's name in print, such as ``CNLE (NL2PL)``."""
    return f"{name.upper()} ({TASKS[task]})"


def listing(words: Iterable[str]) -> str:
    """Return words as a sentence has them: ``a``, ``a and b``, ``a, b and c``."""
    found = list(words)
    return " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else "".join(found)
