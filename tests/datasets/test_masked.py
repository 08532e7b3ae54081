import pandas as pd
import pytest

import corpora
import tiny
from clme.datasets import renaming
from clme.datasets.encoder import Encoder
from clme.datasets.masked import COMBINATIONS, MaskedModel
from clme.datasets.rephrasing import rename_by_masked_model
from clme.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.build_masked_model(tmp_path_factory.mktemp("masked"))


@pytest.fixture(scope="module")
def model(folder):
    return MaskedModel(folder)


CODE = corpora.function(3)[0]


def test_candidates_are_identifiers_in_a_fixed_order(model):
    names = renaming.renameable(CODE)
    assert names == ["items", "limit", "found", "item"]
    found = model.candidates(CODE, names)
    assert list(found) == names
    assert any(found.values())
    for candidates in found.values():
        assert len(candidates) <= COMBINATIONS
        assert all(candidate.isidentifier() for candidate in candidates)
    assert model.candidates(CODE, names) == found


def test_functions_longer_than_the_context_and_names_beyond_it(model):
    code = "def f(first):\n" + "    first = first + 1\n" * 400 + "    last = 2\n    return first, last\n"
    found = model.candidates(code, ["first", "last"])
    assert found["last"] == []
    assert model.candidates(code, ["nowhere"]) == {"nowhere": []}


def test_renamed_functions_are_the_same_programs(model):
    functions = [corpora.function(number)[0] for number in range(6)]
    split = pd.DataFrame(
        {
            "pair_id": [f"p{number}" for number in range(8)],
            "input": [*functions, "def f():\n    return 1\n", "def f(:"],
            "targeted": [True] * 8,
        }
    )
    found = rename_by_masked_model(split, model)
    assert 0 < len(found) <= 6
    for row in found.to_dict("records"):
        before = functions[int(row["pair_id"][1:])]
        assert row["rephrase"] != before
        old, new = renaming.renameable(before), renaming.renameable(row["rephrase"])
        assert renaming.same_program(before, row["rephrase"], dict(zip(old, new, strict=True)))


def test_a_folder_without_a_masked_model(tmp_path):
    with pytest.raises(UserError, match="no masked model can be loaded from here"):
        MaskedModel(tmp_path)


def test_an_encoder_of_robertas_kind_reads_its_whole_context(folder):
    encoder = Encoder(folder, "cls")
    vectors = encoder.embed(["x = 1\n" * 1000, "y"], "embed")
    assert vectors.shape == (2, 32)
    assert (vectors**2).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
