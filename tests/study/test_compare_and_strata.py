"""Comparisons of editors and results by strata, from result files with known scores."""

import json

import numpy as np
import pandas as pd
import pytest

from clme.datasets.schema import CASES
from clme.errors import UserError
from clme.files import read_metadata, read_parquet, write_parquet
from clme.study import aggregate, compare, strata
from clme.study.schema import COMPARISONS, EDITS, METRIC_COLUMNS, METRICS, STRATA

CASE_COUNT = 16


def row(model, editor, number, score):
    texts = dict.fromkeys(("prompt", "rephrase", "effectiveness_output", "generalization_output"), "x")
    lists = {name: ["x"] for name in ("specificity_outputs", "specificity_expected", "fluency_texts")}
    return {
        "model": model,
        "dataset": "cnle",
        "editor": editor,
        "fold": number % 2,
        "case_id": f"case-{number:02}",
        "status": "ok",
        "error": "",
        "target": " ".join(["word"] * (number + 1)),
        **texts,
        **lists,
        **dict.fromkeys(METRIC_COLUMNS, score),
        "edit_steps": 0,
        **dict.fromkeys(("edit_loss", "edit_seconds", "peak_memory_mb")),
        "tokens_verified": 0,
        "tokens_generated": 0,
    }


def write(folder, model, editor, scores, **changes):
    """Write one file of results with these scores of the cases."""
    evaluation = {"cases": len(scores)}
    settings = {"model": model, "dataset": "cnle", "editor": editor, "evaluation": evaluation,
                "compute": {"dtype": "float32"}}  # fmt: skip
    metadata = {
        "protocol": "paper",
        "seed": "0",
        "cases_sha256": "c",
        "model_manifest_sha256": model,
        "source_hash": editor,
        "versions": json.dumps({"python": "3.11.2", "torch": "2.13.0"}),
        "settings": json.dumps(settings),
    }
    path = folder / f"{model}-{editor}.parquet"
    rows = [row(model, editor, number, score) for number, score in enumerate(scores)]
    write_parquet(path, pd.DataFrame(rows), schema=EDITS, metadata=metadata | changes)
    return path


@pytest.fixture
def paths(tmp_path):
    random = np.random.default_rng(0)
    better = (random.random(CASE_COUNT) < 0.9).astype(float)
    worse = better * (random.random(CASE_COUNT) < 0.4)
    return [
        write(tmp_path, "one", "grace", better),
        write(tmp_path, "one", "rome", worse),
        write(tmp_path, "two", "grace", better),
        write(tmp_path, "two", "rome", better),
    ]


def test_differences_are_paired_and_of_the_papers_unit(tmp_path, paths):
    compare.run(paths, 0, tmp_path / "out.parquet")
    found = read_parquet(tmp_path / "out.parquet", schema=COMPARISONS)
    em = found[(found["dimension"] == "effectiveness") & (found["metric"] == "em")].set_index("model")
    assert list(em.index) == ["one", "two", compare.ALL_MODELS]
    grace, rome = (read_parquet(path)["effectiveness_em"] for path in paths[:2])
    expected = 100 * (grace.mean() - rome.mean())
    assert em.loc["one", "difference"] == pytest.approx(expected)
    assert em.loc["one", "low"] <= expected <= em.loc["one", "high"]
    assert em.loc["two", ["difference", "low", "high"]].tolist() == [0, 0, 0]
    assert em.loc["two", "p"] == 1
    # Over both models a case's difference is the mean of its two.
    assert em.loc[compare.ALL_MODELS, "difference"] == pytest.approx(expected / 2)
    assert (found["p_adjusted"] >= found["p"]).all()
    assert (found["cases"] == CASE_COUNT).all()


def test_editors_with_other_cases_are_refused(tmp_path, paths):
    short = read_parquet(paths[1]).iloc[1:]
    write_parquet(paths[1], short, schema=EDITS, metadata=read_metadata(paths[1]))
    with pytest.raises(UserError, match="rome has other cases than grace"):
        compare.run(paths, 0, tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("protocol", "released", "protocol"),
        ("seed", "1", "seed"),
        ("cases_sha256", "d", "cases of cnle"),
        ("model_manifest_sha256", "other", "files of one"),
        ("versions", json.dumps({"python": "3.11.2", "torch": "2.12.0"}), "version of torch"),
    ],
)
def test_results_of_different_studies_are_refused_with_both_files_named(tmp_path, paths, name, value, said):
    other = write(tmp_path / "other", "one", "memit", [1.0] * CASE_COUNT, **{name: value})
    for job in (aggregate.run, compare.run):
        with pytest.raises(UserError, match=said) as caught:
            job([*paths, other], 0, tmp_path / "out.parquet")
        assert str(paths[0]) in str(caught.value)
        assert str(other) in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def test_another_python_alone_is_no_mixture(tmp_path, paths):
    versions = json.dumps({"python": "3.12.1", "torch": "2.13.0"})
    other = write(tmp_path / "other", "one", "memit", [1.0] * CASE_COUNT, versions=versions)
    aggregate.run([*paths, other], 0, tmp_path / "out.parquet")
    assert len(read_parquet(tmp_path / "out.parquet", schema=METRICS)) == 5 * len(METRIC_COLUMNS)


def test_a_file_that_does_not_say_what_made_it_is_named(tmp_path, paths):
    frame = read_parquet(paths[0])
    write_parquet(paths[0], frame, schema=EDITS, metadata={"protocol": "paper"})
    with pytest.raises(UserError, match=str(paths[0])):
        aggregate.run(paths, 0, tmp_path / "out.parquet")


def test_strata_are_quarters_by_target_length_and_nearest_neighbour(tmp_path):
    scores = [1.0] * 8 + [0.0] * 8
    edits = write(tmp_path, "one", "grace", scores)
    rows = [
        {
            "case_id": f"case-{number:02}",
            "fold": number % 2,
            **dict.fromkeys(("prompt", "rephrase", "target", "origin"), "x"),
            "neighbours": ["x", "y"],
            "neighbour_ids": ["a", "b"],
            "neighbour_similarity": [0.1, 0.9 - number / 100],
        }
        for number in reversed(range(CASE_COUNT))
    ]
    cases = tmp_path / "cases.parquet"
    write_parquet(cases, pd.DataFrame(rows), schema=CASES, metadata={})
    strata.run([edits], {"cnle": cases}, 0, tmp_path / "out.parquet")
    found = read_parquet(tmp_path / "out.parquet", schema=STRATA)
    em = found[(found["dimension"] == "effectiveness") & (found["metric"] == "em")]
    lengths = em[em["factor"] == "target_length"].sort_values("stratum")
    assert lengths["value"].tolist() == [100, 100, 0, 0]
    assert lengths["cases"].tolist() == [4, 4, 4, 4]
    assert lengths["least"].tolist() == [1, 5, 9, 13]
    assert lengths["most"].tolist() == [4, 8, 12, 16]
    near = em[em["factor"] == "neighbour_similarity"].sort_values("stratum")
    assert near["value"].tolist() == [0, 0, 100, 100]
    assert near["most"].iloc[-1] == pytest.approx(0.9)


def test_equal_values_share_a_stratum():
    values = pd.Series([1.0] * 6 + [2.0, 3.0])
    found = strata.stratify(values, 4)
    assert found[:6].nunique() == 1
    assert found.max() < 4
    assert strata.stratify(pd.Series([5.0]), 4).tolist() == [0]
