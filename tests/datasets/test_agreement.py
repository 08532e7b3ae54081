import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clme.datasets import agreement
from clme.datasets.agreement import compare, kappa, kept_share
from clme.datasets.grading import LEVELS, UNGRADED


def raters(table):
    """Levels of two raters from a table of counts."""
    cells = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in cells], [j for _, j in cells]


def test_known_values():
    # 35 of 50 agree, half by chance: 0.7 and 0.5.
    assert kappa(*raters([[20, 5], [10, 15]]), 2) == pytest.approx(0.4)
    # Cohen (1960): 200 subjects, 0.70 observed, 0.41 by chance, kappa .492.
    cohen = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
    assert kappa(*raters(cohen), 3) == pytest.approx(0.492, abs=5e-4)


def test_weights_by_hand():
    one, other = raters([[2, 1, 0], [0, 2, 1], [1, 0, 1]])
    # Both raters have shares of 3, 3 and 2 eighths. Distances: observed (1 + 1 + 2) / 8, by chance
    # (2 * 9 + 2 * 6 + 2 * 2 * 6) / 64; squares: observed (1 + 1 + 4) / 8, by chance (18 + 12 + 4 * 12) / 64.
    assert kappa(one, other, 3, power=1) == pytest.approx(1 - (4 / 8) / (54 / 64))
    assert kappa(one, other, 3, power=2) == pytest.approx(1 - (6 / 8) / (78 / 64))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30), st.integers(0, 2))
def test_bounds(pairs, power):
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    assert kappa(one, other, 5, power) <= 1 + 1e-9
    assert kappa(one, other, 5, power) == pytest.approx(kappa(other, one, 5, power))
    assert kappa(one, one, 5, power) == pytest.approx(1 if len(set(one)) > 1 else 0)


def test_the_labels_are_whole():
    found = agreement.labels()
    assert list(found) == ["input", "target", "origin", "label"]
    assert len(found) == 100
    assert not found.duplicated(["input", "target", "origin"]).any()
    assert set(found["label"]) <= set(LEVELS)
    assert (found[["input", "target", "origin"]] != "").all(axis=None)


def test_a_grader_is_compared_with_the_labels():
    exact = agreement.measure(lambda pairs: pairs.assign(grade=pairs["label"]))
    assert (exact["pairs"], exact["kappa"], exact["quadratic"], exact["kept_kappa"]) == (100, 1, 1, 1)
    assert exact["labelled"] == exact["kept"] == exact["both"]
    constant = agreement.measure(lambda pairs: pairs.assign(grade=LEVELS[-1]))
    assert (constant["kappa"], constant["linear"]) == pytest.approx((0, 0))
    assert constant["kept"] == 100


@pytest.mark.parametrize(
    ("labels", "grades", "share"), [("++--", "++--", 1), ("+++-", "+--+", 0.25), ("", "", 0)]
)
def test_the_share_of_same_decisions(labels, grades, share):
    levels = {"+": LEVELS[-1], "-": LEVELS[1]}
    frame = pd.DataFrame(
        {"label": [levels[one] for one in labels], "grade": [levels[one] for one in grades]}, dtype=object
    )
    assert kept_share(vars(compare(frame))) == share


def test_pairs_that_a_grader_gave_no_level_are_left_out():
    low, high = LEVELS[0], LEVELS[-1]
    found = compare(pd.DataFrame({"label": [low, high, high, low], "grade": [low, high, UNGRADED, high]}))
    assert (found.pairs, found.labelled, found.kept, found.both) == (3, 1, 2, 1)
