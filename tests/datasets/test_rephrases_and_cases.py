"""From split pairs to the benchmark's cases and their card."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clme.datasets import card, cases, rephrasing
from clme.datasets.agreement import measure
from clme.datasets.renaming import same_program
from clme.datasets.rewriting import FRAMES, rewrite
from clme.datasets.schema import CASES, NEIGHBOURS, REPHRASES
from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Material
from clme.errors import UserError
from clme.files import read_parquet, write_parquet

PUBLISHED = Path(__file__).parents[2] / "paper/published/table3.csv"


def dataset(task="cnle", **values):
    return DatasetSettings(task=task, source="pypi", encoder="minilm", **values)


def split_frame(inputs, targeted, target="x = 1"):
    return pd.DataFrame(
        {
            "pair_id": [f"p{number}" for number in range(len(inputs))],
            "input": inputs,
            "target": target,
            "split": "",
            "origin": "here",
            "targeted": [number < targeted for number in range(len(inputs))],
        }
    )


def random(seed=0):
    return np.random.default_rng(seed)


def test_an_intent_is_said_in_other_words_and_another_form():
    assert rewrite("get the source of a parameter", 0, random()) in {
        "given a parameter, fetch the source",
        "fetch the source, for a parameter at hand",
        "take a parameter and fetch the source",
    }
    assert rewrite("sort ascending", 1, random()) in {
        "how do I arrange in increasing order?",
        "what is the way to arrange in increasing order?",
        "I need to arrange in increasing order",
    }


def test_an_intent_whose_verb_is_unknown_is_left_out():
    assert rewrite("frobnicate a list", 0, random()) is None
    assert rewrite("", 0, random()) is None
    assert rewrite("getting a list", 0, random()) is None


def pattern(frame):
    """A frame as a pattern that texts match."""
    return "^" + re.sub(r"\\{\w+\\}", ".+", re.escape(frame)) + "$"


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["get the first element", "check whether `x` is unique", "sort the elements by index"]),
    st.sampled_from(["", " in a list", " of a NumPy array"]),
    st.text("abcxyz _.'()", min_size=1, max_size=12).filter(lambda text: "'" not in text),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_quoted_code_is_kept_and_folds_have_frames_of_their_own(start, end, code, fold, seed):
    quoted = [f"`{code} first`", f'"elements {code}"']
    intent = f"{start} {quoted[0]} and {quoted[1]}{end}"
    found = rewrite(intent, fold, random(seed))
    for part in quoted:
        assert part in found
    assert "the elements" not in found.replace(quoted[1], "")
    assert found != intent
    assert rewrite(intent, fold, random(seed)) == found
    others = FRAMES[(fold + 1) % 2]
    if end and not start.startswith("check"):
        assert any(re.match(pattern(frame), found) for frame in FRAMES[fold % 2])
        assert not any(re.match(pattern(frame), found) for frame in others)


def test_no_frame_is_in_two_folds():
    frames = [frame for fold in FRAMES for frame in fold]
    assert len(frames) == len(set(frames))


def test_the_folds_of_rewritten_intents_are_the_folds_of_the_cases():
    """An intent that can't be rewritten shifts neither."""
    inputs = [f"get the item {number} of a list" for number in range(12)]
    inputs[3] = "frobnicate it"
    split = split_frame(inputs, targeted=7)
    rephrases = rephrasing.rewrite_intents(split, "cnle", 2, 0)
    assert rephrases["pair_id"].tolist() == ["p0", "p1", "p2", "p4", "p5", "p6"]
    embeddings = np.eye(12)
    near = cases.find_neighbours(split, rephrases, embeddings, 5)
    made = cases.assemble(split, rephrases, near, "cnle", dataset(), 2)
    for case in made.to_dict("records"):
        text = case["rephrase"].removeprefix("Intent: ").removesuffix("\nCode:")
        assert any(re.match(pattern(frame), text) for frame in FRAMES[case["fold"]])
        assert not any(re.match(pattern(frame), text) for frame in FRAMES[1 - case["fold"]])


class Letters:
    """An encoder that counts letters."""

    def embed(self, texts, label):
        counts = np.array([[1 + text.count(letter) for letter in "aeioust"] for text in texts], dtype=float)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    special = 2

    def counts(self, texts):
        return np.array([len(text.split()) + self.special for text in texts])


def test_targeted_functions_are_renamed_to_variables_of_the_corpus():
    codes = [
        "def f(total, other):\n    return total + other",
        "def g():\n    return 1",
        "def h(amount, elements):\n    return amount, elements",
        "def k(amount, elements):\n    return [amount for amount in elements]",
    ]
    split = split_frame(codes, targeted=2)
    found = rephrasing.rename_variables(split, Letters())
    assert found["pair_id"].tolist() == ["p0"], "a function without variables is left out"
    (renamed,) = found["rephrase"]
    new = re.findall(r"\w+", renamed.split("(")[1].split(")")[0])
    assert set(new) == {"amount", "elements"}, "names that several functions use"
    assert same_program(codes[0], renamed, dict(zip(["total", "other"], new, strict=True)))


@pytest.fixture
def made():
    split = split_frame([f"intent {number}" for number in range(10)], targeted=4)
    rephrases = pd.DataFrame({"pair_id": ["p3", "p1", "p0"], "rephrase": ["R3", "R1", "R0"]})
    angles = np.array([0.0, 0.09, 9.0, 0.21, 0.05, 0.15, 0.25, 1.0, 1.5, 3.0])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    near = cases.find_neighbours(split, rephrases, embeddings, 3)
    return split, rephrases, near, cases.assemble(split, rephrases, near, "cnle", dataset(), 2)


def test_cases_are_put_together(made):
    _, _, near, frame = made
    assert near["pair_id"].tolist() == ["p0", "p1", "p3"], "in the split's order, those with a rephrase"
    assert near["neighbour_ids"].tolist() == [["p4", "p5", "p6"], ["p4", "p5", "p6"], ["p6", "p5", "p4"]]
    assert near["similarities"][0] == pytest.approx(np.cos([0.05, 0.15, 0.25]))
    assert frame["case_id"].tolist() == ["cnle-00000", "cnle-00001", "cnle-00002"]
    assert frame["fold"].tolist() == [0, 1, 0]
    first = frame.iloc[2]
    assert (first["prompt"], first["rephrase"]) == ("Intent: intent 3\nCode:", "Intent: R3\nCode:")
    assert first["neighbours"] == [f"Intent: intent {other[1:]}\nCode:" for other in first["neighbour_ids"]]


def test_neighbours_are_never_targeted(made):
    split, _, near, _ = made
    targeted = set(split[split["targeted"]]["pair_id"])
    assert not targeted & {other for ids in near["neighbour_ids"] for other in ids}


def test_cases_fit_their_schema(made, tmp_path):
    _, rephrases, near, frame = made
    parts = {"cases": (frame, CASES), "near": (near, NEIGHBOURS), "rephrases": (rephrases, REPHRASES)}
    for name, (one, schema) in parts.items():
        write_parquet(tmp_path / name, one, schema=schema, metadata={})
        assert len(read_parquet(tmp_path / name, schema=schema)) == 3


def test_prompts_of_functions():
    split = split_frame(["def f(): pass"] * 4, targeted=1, target="Do nothing.")
    rephrases = pd.DataFrame({"pair_id": ["p0"], "rephrase": ["def g(): pass"]})
    near = cases.find_neighbours(split, rephrases, np.ones((4, 2)), 2)
    (case,) = cases.assemble(split, rephrases, near, "csne", dataset("csne"), 2).to_dict("records")
    assert case["prompt"] == "Code: def f(): pass\nDescription:"
    assert case["target"] == "Do nothing."
    assert case["neighbour_ids"] == ["p1", "p2"], "ties go to the first in the dataset's order"


def test_code_with_braces_is_no_template():
    split = split_frame(["d = {'a': {}}"] * 3, targeted=1)
    rephrases = pd.DataFrame({"pair_id": ["p0"], "rephrase": ["{text}"]})
    near = cases.find_neighbours(split, rephrases, np.ones((3, 2)), 1)
    (case,) = cases.assemble(split, rephrases, near, "x", dataset("csne"), 1).to_dict("records")
    assert case["prompt"] == "Code: d = {'a': {}}\nDescription:"
    assert case["rephrase"] == "Code: {text}\nDescription:"


def test_what_cannot_be_put_together_is_told(made, tmp_path):
    split, rephrases, _, _ = made
    with pytest.raises(UserError, match="9 embeddings for 10 pairs; rerun the rule that embeds"):
        cases.find_neighbours(split, rephrases, np.ones((9, 2)), 3)
    none = rephrases.iloc[:0]
    near = cases.find_neighbours(split, none, np.ones((10, 2)), 3)
    write_parquet(tmp_path / "near", near, schema=NEIGHBOURS, metadata={})
    near = read_parquet(tmp_path / "near", schema=NEIGHBOURS)
    with pytest.raises(
        UserError, match=r"datasets\.cnle: no targeted pair could be rephrased; raise `limit`"
    ):
        cases.assemble(split, none, near, "cnle", dataset(), 2)


GRADED = card.Graded(
    {"Irrelevant": 16, "Very Relevant": 4}, measure(lambda pairs: pairs.assign(grade=pairs["label"]))
)
MATERIALS = [Material("words==1.0", "sha256 0", "MIT")]


def test_a_card_says_how_the_dataset_came_about(made):
    split, _, _, frame = made
    stages = {"extract": pd.concat([split] * 3), "filter": pd.concat([split] * 2), "split": split}
    passed = card.counts(stages, frame)
    assert passed == {"extract": 30, "filter": 20, "targeted": 4, "non_targeted": 6, "cases": 3}
    lengths = card.lengths(frame, Letters())
    assert {row["role"]: (row["mean"], row["median"], row["count"]) for row in lengths} == {
        "effectiveness_input": (4, 4, 3),
        "generalization_input": (3, 3, 3),
        "specificity_input": (4, 4, 9),
        "edit_target": (3, 3, 3),
    }
    text = card.render("words", dataset(), frame, passed, GRADED, lengths, MATERIALS, PUBLISHED)
    assert text.startswith("# Dataset words\n")
    assert "| 30 | pairs of the source |" in text
    assert "| 3 | could be rephrased: the cases |" in text
    assert "| effectiveness input | 4.00 |" in text
    assert "Intent: intent 0\nCode: x = 1" in text
    assert "{{" not in text
    assert "hand labels of 100 pairs" in text
    assert "| the five levels | 1.00 |" in text
    assert "they decide the same for\n100%." in text
    assert "2 x share of the same decisions - 1 | 1.00 |" in text
    assert all(part in text for part in ("words==1.0", "sha256 0", "MIT", "| Irrelevant | 16 |"))
