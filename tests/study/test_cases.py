"""A dataset's cases as jobs read them: each bad row is named, with its case and file, and what to do."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

import prepared
from clme.datasets.schema import CASES
from clme.errors import UserError
from clme.evaluation.protocol import FLUENCY_TOKENS
from clme.files import read_parquet, write_parquet
from clme.models.text import Tokenizer
from clme.study.cases import Case, encode, outside, read_cases, select
from clme.study.settings import Selection, Training


@pytest.fixture
def path(tmp_path):
    return prepared.write_cases(tmp_path / "cases.parquet", count=6)


@pytest.fixture(scope="module")
def tokenizer(tiny_models):
    return Tokenizer.load(tiny_models["llama"])


def rewritten(path, row, **values):
    frame = read_parquet(path, schema=CASES)
    for column, value in values.items():
        frame[column] = [value if number == row else old for number, old in enumerate(frame[column])]
    write_parquet(path, frame, schema=CASES, metadata={})


def refused(said, call, *arguments):
    with pytest.raises(UserError, match=said) as error:
        call(*arguments)
    assert "\n" not in str(error.value)


def test_cases_are_read_in_the_datasets_order(path):
    cases = read_cases(path)
    assert [case.case_id for case in cases] == [f"case-{number}" for number in range(6)]
    assert [case.fold for case in cases] == [0, 1, 0, 1, 0, 1]
    assert all(case.prompt.startswith("Intent: ") and len(case.neighbours) == 2 for case in cases)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"target": " \n"},
            r"cases\.parquet: row 3 \(case case-3\): `target` is empty; mend or drop the row",
        ),
        ({"prompt": ""}, r"row 3 \(case case-3\): `prompt` is empty"),
        ({"rephrase": ""}, r"row 3 \(case case-3\): `rephrase` is empty"),
        ({"case_id": ""}, r"row 3 \(case \): `case_id` is empty"),
        ({"neighbours": ["a", ""]}, r"row 3 \(case case-3\): an empty neighbour; mend or drop the row"),
        ({"neighbours": ["a", None]}, r"row 3 \(case case-3\): an empty neighbour"),
        ({"neighbours": []}, r"row 3 \(case case-3\): an empty neighbour"),
        ({"case_id": "case-1"}, r"row 3: case case-1 is there twice; drop one of the rows"),
    ],
)
def test_malformed_rows(path, change, said):
    rewritten(path, 3, **change)
    refused(said, read_cases, path)


def test_malformed_columns(path):
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["rephrase"]), path)
    refused(r"cases\.parquet: lacks the column\(s\) rephrase", read_cases, path)
    pq.write_table(table.set_column(2, "prompt", table["neighbours"]), path)
    refused(r"cases\.parquet: a column has the wrong type", read_cases, path)
    pq.write_table(table.set_column(1, "fold", pd.array([1, None] * 3, "Int8").__arrow_array__()), path)
    refused(r"cases\.parquet: a column has the wrong type or an empty value \(.*fold", read_cases, path)


def test_selection_skips_then_counts(path):
    cases = read_cases(path)

    def ids(**selection):
        return [case.case_id for case in select(cases, Selection(**selection))]

    assert ids(cases=2) == ["case-0", "case-1"]
    assert ids(cases=2, skip=3) == ["case-3", "case-4"]
    assert ids(exclude=("case-0", "case-2"), cases=2) == ["case-1", "case-3"]
    assert len(ids()) == 6
    refused("evaluation.exclude: no such case: case-9", select, cases, Selection(exclude=("case-9",)))
    said = r"skipping 6 of 6 cases leaves none; lower `evaluation.skip`"
    refused(said, select, cases, Selection(skip=6))


def test_training_cases_are_outside_of_the_fold(path):
    cases = read_cases(path)
    found = outside(cases, 0, Selection(exclude=("case-3",)), Training(cases=1))
    assert [case.case_id for case in found] == ["case-1"]
    assert all(case.fold == 1 for case in outside(cases, 0, Selection(), Training()))


def test_encoding_gives_the_tokens_of_all_prompts(path, tokenizer):
    case = read_cases(path)[0]
    (found,) = encode([case], tokenizer, 2048, path)
    texts = [case.prompt, case.rephrase, *case.neighbours]
    assert [tokenizer.decode(prompt) for prompt in found.prompts] == texts
    assert tokenizer.decode(found.request.target) == f" {case.target}"
    assert found.rephrase.target == found.request.target


def long_case(number, words):
    return Case(f"long-{number}", 0, "a " * words + "b", "c", "d", ("e",))


def test_a_prompt_longer_than_the_context_is_named_before_anything_runs(path, tokenizer):
    cases = [*read_cases(path), *(long_case(number, 2100) for number in range(7))]
    said = (
        r"cases\.parquet: 7 of 13 cases can't be used with this model: long-0: a prompt needs \d+ tokens with"
        r" its continuation, the model reads 2048 at most; long-1: .*; \.\.\.\. Leave them out by"
        " `evaluation.exclude`"
    )
    refused(said, encode, cases, tokenizer, 2048, path)


def test_the_continuation_counts_too(path, tokenizer):
    case = Case("edge", 0, "a", "b", "c", ("d",))
    longest = len(tokenizer.encode("a")) + FLUENCY_TOKENS
    assert encode([case], tokenizer, longest, path)
    refused("edge: a prompt needs", encode, [case], tokenizer, longest - 1, path)


def test_a_target_that_is_merged_into_the_prompt_is_named(path, tokenizer, monkeypatch):
    def merged(_, prompt, target):
        raise UserError(f"the tokenizer merges {prompt[-1]!r} with {target[0]!r}; leave the case out")

    monkeypatch.setattr(Tokenizer, "encode_request", merged)
    said = r"cases\.parquet: 6 of 6 cases .*: case-0: the tokenizer merges ':' with"
    refused(said, encode, read_cases(path), tokenizer, 2048, path)


def test_an_empty_target_is_named(path, tokenizer):
    case = Case("empty", 0, "a", "b", " ", ("d",))
    refused("empty: the target is empty; give it text", encode, [case], tokenizer, 2048, path)
