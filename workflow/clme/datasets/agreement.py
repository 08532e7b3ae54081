"""How well a grader agrees with hand labels (the paper: Cohen's kappa of 0.70 on 384 pairs of CoNaLa)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources

import numpy as np
import pandas as pd

from clme.datasets.grading import LEVELS, UNGRADED


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa between a grader and the hand labels, and what the grader's choice is worth.

    Attributes:
        pairs: labelled pairs that the grader gave a level.
        kappa: of the five levels, each disagreement alike.
        linear: with disagreements weighted by the distance of levels.
        quadratic: with disagreements weighted by its square.
        kept_kappa: of the decision Very Relevant or not.
        labelled: pairs that the labels call Very Relevant.
        kept: pairs that the grader calls so.
        both: pairs that both call so.
    """

    pairs: int
    kappa: float
    linear: float
    quadratic: float
    kept_kappa: float
    labelled: int
    kept: int
    both: int


def labels() -> pd.DataFrame:
    """Return the hand-labelled pairs: input, target, origin, label (`labels/README.md` tells of them)."""
    with (resources.files("clme.datasets") / "labels" / "cnle.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream, keep_default_na=False, dtype=str)


def measure(grade: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, float]:
    """Have the labelled pairs graded, and return the fields of an `Agreement`.

    Args:
        grade: adds the column `grade` to pairs.
    """
    return asdict(compare(grade(labels())))


def compare(graded: pd.DataFrame) -> Agreement:
    """Return the agreement of the columns `label` and `grade`; pairs without a level are left out."""
    known = graded[graded["grade"] != UNGRADED]
    label, given = ([LEVELS.index(level) for level in known[column]] for column in ("label", "grade"))
    best = len(LEVELS) - 1
    wanted, kept = ([int(level == best) for level in levels] for levels in (label, given))
    return Agreement(
        pairs=len(known),
        kappa=kappa(label, given, len(LEVELS)),
        linear=kappa(label, given, len(LEVELS), power=1),
        quadratic=kappa(label, given, len(LEVELS), power=2),
        kept_kappa=kappa(wanted, kept, 2),
        labelled=sum(wanted),
        kept=sum(kept),
        both=sum(one & other for one, other in zip(wanted, kept, strict=True)),
    )


def kept_share(found: Mapping[str, float]) -> float:
    """Return the share of labelled pairs for which grader and labels decide the same: Very Relevant or not.

    Twice the share less one is kappa adjusted for prevalence and bias (Byrt et al., 1993).

    Args:
        found: the fields of an `Agreement`.
    """
    neither = found["pairs"] - found["labelled"] - found["kept"] + found["both"]
    return (found["both"] + neither) / max(1, found["pairs"])


def kappa(one: Sequence[int], other: Sequence[int], levels: int, power: int = 0) -> float:
    """Return Cohen's kappa, 1 - sum(w * observed) / sum(w * expected) (Cohen, 1960; weighted: 1968).

    `observed` are the shares of pairs [levels, levels] by both raters' levels, `expected` the same for
    independent raters with these shares of levels; w(i, j) is |i - j|^power, and with power 0 it is 1 for all
    i != j. Where both raters know but one and the same level, nothing tells agreement from chance: 0.

    Args:
        one: a rater's levels, as numbers from 0.
        other: the other's, of the same pairs.
        levels: how many levels there are.
        power: 0 for kappa without weights, 1 for linear, 2 for quadratic ones.
    """
    observed = np.zeros((levels, levels))
    np.add.at(observed, (list(one), list(other)), 1 / max(1, len(one)))
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0))
    place = np.arange(levels)
    distance = np.abs(place[:, None] - place)
    weight = distance**power if power else distance > 0
    by_chance = float((weight * expected).sum())
    return 1 - float((weight * observed).sum()) / by_chance if by_chance else 0.0
