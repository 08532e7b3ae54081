"""The DAG with every registered editor and what it needs, on one tiny random model."""

import shutil

import pandas as pd
import pytest
import yaml

import tiny
from clme.editors import registry
from clme.files import read_parquet
from clme.study.schema import EDITS, METRICS
from workflows import PRESETS, snakemake

SMOKE = yaml.safe_load((PRESETS / "smoke-editors.yaml").read_text())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    tiny.build_all(folder / "models")
    code, said = snakemake(folder, "--cores", 2, "--keep-going", preset="smoke-editors")
    assert code == 0, said[-5000:]
    return folder


@pytest.fixture(scope="module")
def cases(study):
    paths = sorted(study.glob("results/edits/*/*/*/*.parquet"))
    return pd.concat([read_parquet(path, schema=EDITS) for path in paths], ignore_index=True)


def test_every_editor_edits_every_case(study, cases):
    counts = cases.groupby("editor").size()
    assert counts.to_dict() == dict.fromkeys(registry.names(), SMOKE["evaluation"]["cases"])
    assert (cases["status"] == "ok").all(), cases.loc[cases["status"] != "ok", ["editor", "error"]]
    assert set(cases["fold"]) == {0, 1}
    metrics = read_parquet(study / "results/metrics.parquet", schema=METRICS)
    assert set(metrics["editor"]) == set(registry.names())


@pytest.mark.parametrize("editor", [name for name in registry.names() if name != "none"])
def test_an_editor_changes_outputs(cases, editor):
    columns = ["effectiveness_output", "generalization_output"]
    edited = cases[cases["editor"] == editor].set_index("case_id")[columns]
    unedited = cases[cases["editor"] == "none"].set_index("case_id")[columns]
    assert (edited != unedited.loc[edited.index]).any(axis=None)


def test_codebooks_share_their_values(study):
    """GRACE and A-GRACE's three rows need one file of values for each fold."""
    assert len(list(study.glob("results/values/*/*/*.safetensors"))) == 2


def test_tables_4_and_6_are_there(study):
    for table in ("table_4", "table_6"):
        assert (study / f"results/tables/{table}.tex").stat().st_size > 0


def test_what_editors_need_is_the_same_file_from_divided_jobs(study):
    files = [sorted(study.glob(f"results/{kind}/*/*/fold0.*"))[0] for kind in ("vectors", "values")]
    before = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    for kind in ("vectors", "values"):
        shutil.rmtree(study / "results/journals" / kind)
    targets = [path.relative_to(study) for path in files]
    divided = ("--config", "compute={shards: 2}")
    code, said = snakemake(study, "--cores", 2, *targets, *divided, preset="smoke-editors")
    assert code == 0, said[-5000:]
    assert [path.read_bytes() for path in files] == before
    assert len(list(study.glob("results/logs/v*_shard/*.1of2.log"))) == 2
    assert not list(study.glob("results/shards/v*/*/*/*")), "what has been put together is not kept"
