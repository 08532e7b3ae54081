"""The stages from pairs to split, on frames that are made here."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clme.datasets import grading, stages
from clme.datasets.neighbours import nearest
from clme.datasets.settings import DatasetSettings
from clme.errors import UserError


def dataset(task="cnle", **values):
    return DatasetSettings(task=task, source="pypi", encoder="minilm", **values)


def frame(inputs, targets=None, split=""):
    count = len(inputs)
    return pd.DataFrame(
        {
            "pair_id": [f"p{number}" for number in range(count)],
            "input": inputs,
            "target": targets or ["x"] * count,
            "split": split,
            "origin": "here",
        }
    ).astype({"input": "str", "target": "str"})


def tokens(texts):
    return np.array([len(text.split()) for text in texts])


def test_what_does_not_parse_is_empty_or_too_long_is_left_out():
    pairs = frame(
        [" sort it \n", "bad code", "", "no code", "a b c d", "long code"],
        ["x.sort()\n", "x = (", "x", " ", "y", "a + b + c"],
    )
    found = stages.keep_usable(pairs, dataset(max_input_tokens=3, max_target_tokens=3), tokens)
    assert found["pair_id"].tolist() == ["p0"]
    assert (found["input"][0], found["target"][0]) == ("sort it", "x.sort()")
    unlimited = stages.keep_usable(pairs, dataset(), tokens)
    assert unlimited["pair_id"].tolist() == ["p0", "p4", "p5"]


def test_the_code_of_a_function_is_its_input():
    pairs = frame(["def f(): pass", "def f(:"], ["Do (nothing", "Do something"])
    assert stages.keep_usable(pairs, dataset("csne"), tokens)["pair_id"].tolist() == ["p0"]


def test_code_with_a_zero_byte_and_code_that_warns():
    pairs = frame(["a", "b"], ["'\0'", "x is 1"])
    assert stages.keep_usable(pairs, dataset(), tokens)["pair_id"].tolist() == ["p1"]


def test_the_first_of_equal_inputs_stays():
    pairs = frame(["Sort  a list", "sort a\nlist", "sort lists", "SORT A LIST"])
    assert stages.deduplicate(pairs)["pair_id"].tolist() == ["p0", "p2"]


def test_stages_of_no_pairs_give_no_pairs():
    empty = frame(["a"]).iloc[:0]
    assert len(stages.keep_usable(empty, dataset(), tokens)) == 0
    assert len(stages.deduplicate(empty)) == 0
    with pytest.raises(UserError, match=r"datasets\.d: 0 targeted and 0 non-targeted pairs are left"):
        stages.split(empty, "d", dataset(), 0)


def test_a_random_sixth_is_targeted():
    pairs = frame([f"input {number}" for number in range(60)])
    found = stages.split(pairs, "cnle", dataset(), seed=3)
    assert found["targeted"].sum() == 10
    assert sorted(found["pair_id"]) == sorted(pairs["pair_id"])
    assert found["pair_id"].tolist() != pairs["pair_id"].tolist()
    assert stages.split(pairs, "cnle", dataset(), seed=3).equals(found)
    for other in (
        stages.split(pairs, "cnle", dataset(), seed=4),
        stages.split(pairs, "x", dataset(), seed=3),
    ):
        assert set(other[other["targeted"]]["pair_id"]) != set(found[found["targeted"]]["pair_id"])


def test_a_sources_test_split_is_targeted():
    pairs = frame([f"input {number}" for number in range(20)])
    pairs["split"] = ["test" if number % 4 == 0 else "train" for number in range(20)]
    found = stages.split(pairs, "csne", dataset("csne"), seed=0)
    assert (found["targeted"] == (found["split"] == "test")).all()


@pytest.mark.parametrize(
    ("count", "split", "said"),
    [
        (1, "", "0 targeted and 1 non-targeted"),
        (5, "", "1 targeted and 4 non-targeted"),
        (8, "test", "8 targeted and 0 non-targeted"),
    ],
)
def test_too_few_pairs_are_told(count, split, said):
    pairs = frame([f"input {number}" for number in range(count)], split=split)
    with pytest.raises(
        UserError, match=rf"datasets\.d: {said} pairs are left; at least 1 and 5 are needed"
    ) as error:
        stages.split(pairs, "d", dataset(), 0)
    assert "\n" not in str(error.value)


class Angles:
    """An encoder that reads the angle of a unit vector out of a text."""

    def embed(self, texts, label):
        radians = np.arccos([float(text.split()[-1]) if text[0] == "i" else 1.0 for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_grades_are_bins_of_the_cosine():
    """The edges belong to the upper bin: 0.07, 0.19, 0.23 and 0.43."""
    cosines = [-0.5, 0.069, 0.071, 0.189, 0.191, 0.229, 0.231, 0.429, 0.431, 0.99]
    graded = grading.grade(frame([f"i {cosine}" for cosine in cosines]), Angles())
    assert graded["similarity"].tolist() == pytest.approx(cosines)
    very_irrelevant, irrelevant, neutral, relevant, very_relevant = grading.LEVELS
    expected = [very_irrelevant] * 2 + [irrelevant] * 2 + [neutral] * 2 + [relevant] * 2 + [very_relevant] * 2
    assert graded["grade"].tolist() == expected
    assert grading.relevant(graded)["input"].tolist() == ["i 0.431", "i 0.99"]


def test_identifiers_are_spoken_as_words():
    assert grading.spoken("maxSize = len(my_list2)") == "max Size = len ( my list 2 )"
    assert grading.spoken("") == ""


def test_ties_go_to_the_lower_index():
    others = np.array([[0, 1], [1, 0], [0, 1], [1, 0], [1, 0], [0, -1]], dtype=np.float32)
    indices, similarities = nearest(np.array([[1, 0], [0, 1]], dtype=np.float32), others, 4)
    assert indices.tolist() == [[1, 3, 4, 0], [0, 2, 1, 3]]
    assert similarities.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nearest_is_the_sorted_whole(data):
    """Small whole numbers make many exact ties; compared with a stable sort of all similarities."""
    numbers = st.integers(-2, 2)
    width, queries, others = (data.draw(st.integers(1, limit)) for limit in (3, 4, 12))
    one = np.array(data.draw(st.lists(numbers, min_size=queries * width, max_size=queries * width)))
    other = np.array(data.draw(st.lists(numbers, min_size=others * width, max_size=others * width)))
    one, other = one.reshape(queries, width).astype(float), other.reshape(others, width).astype(float)
    count = data.draw(st.integers(1, others))
    indices, similarities = nearest(one, other, count)
    scores = one @ other.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    assert np.array_equal(indices, expected)
    assert np.array_equal(similarities, np.take_along_axis(scores, expected, axis=1))


def test_no_query_has_no_neighbours():
    indices, similarities = nearest(np.empty((0, 3)), np.ones((6, 3)), 5)
    assert indices.shape == similarities.shape == (0, 5)
