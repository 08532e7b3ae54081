"""The whole DAG on tiny random models of all three families, from the offline corpora to the end."""

import json
import os
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import tiny
from clme.editors import registry
from clme.files import read_parquet
from clme.stopping import SIGNALS
from clme.study.schema import EDITS, METRICS
from workflows import PRESETS, ROOT, planned, snakemake

SUBMIT = Path(__file__).with_name("submit")
SMOKE = yaml.safe_load((PRESETS / "smoke.yaml").read_text())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    tiny.build_all(folder / "models")
    code, said = snakemake(folder, "--cores", 2, "--keep-going")
    assert code == 0, said[-5000:]
    return folder


@pytest.fixture(scope="module")
def cases(study):
    paths = sorted(study.glob("results/edits/*/*/*/*.parquet"))
    return pd.concat([read_parquet(path, schema=EDITS) for path in paths], ignore_index=True)


def test_each_case_is_there_once_for_each_model_and_editor(cases):
    keys = ["model", "dataset", "editor"]
    assert not cases.duplicated([*keys, "case_id"]).any()
    counts = cases.groupby(keys).size()
    assert set(counts) == {SMOKE["evaluation"]["cases"]}
    assert len(counts) == len(SMOKE["models"]) * len(SMOKE["datasets"]) * len(SMOKE["editors"])


def test_edits_did_something_and_none_did_nothing(cases):
    assert (cases["status"] == "ok").all(), cases.loc[cases["status"] != "ok", ["editor", "error"]]
    unedited = cases[cases["editor"] == "none"]
    assert (unedited["specificity_em"] == 1).all()
    for (model, editor), edited in cases[cases["editor"] != "none"].groupby(["model", "editor"]):
        outputs = edited.set_index(["dataset", "case_id"])["effectiveness_output"]
        before = unedited[unedited["model"] == model].set_index(["dataset", "case_id"])[
            "effectiveness_output"
        ]
        assert (outputs != before.loc[outputs.index]).any(), editor
    # A random model can't be taught a whole target in few steps, but its first tokens.
    verified = cases.pivot_table("tokens_verified", "model", "editor", aggfunc="sum")
    assert (verified["grace"] > verified["none"]).all()


def test_time_and_memory_are_measured_for_the_first_cases(cases):
    timed = cases[cases["editor"] != "none"].dropna(subset="edit_seconds")
    assert set(timed.groupby(["model", "dataset", "editor"]).size()) == {SMOKE["evaluation"]["timed_cases"]}
    assert (timed["edit_seconds"] > 0).all()


def test_metrics_are_complete(study):
    metrics = read_parquet(study / "results/metrics.parquet", schema=METRICS)
    cells = metrics.groupby(["model", "dataset", "editor"]).size()
    assert len(cells) == len(SMOKE["models"]) * len(SMOKE["datasets"]) * len(SMOKE["editors"])
    assert (metrics["low"] <= metrics["value"]).all()
    assert (metrics["value"] <= metrics["high"]).all()


def test_datasets_have_cards_and_counts(study):
    for dataset in SMOKE["datasets"]:
        folder = study / "results/datasets" / dataset
        assert (folder / "README.md").read_text().startswith(f"# Dataset {dataset}")
        assert json.loads((folder / "stages.json").read_text())["extract"] > 0


def test_a_second_run_has_nothing_to_do(study):
    code, said = snakemake(study, "--cores", 2)
    assert code == 0
    assert "Nothing to be done" in said


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_job_that_is_told_to_stop_with_all_around_it_goes_on(study, number):
    """Snakemake, the rule's shell and what writes the log are told, too, as in a job of a batch system."""
    baseline = study / "results/baselines/tiny-llama/cnle.parquet"
    before = baseline.read_bytes()
    baseline.unlink()
    shutil.rmtree(study / "results/journals/baselines/tiny-llama/cnle")
    told = study / "told/clme"
    told.parent.mkdir(exist_ok=True)
    script = f'exec "{sys.executable}" "{ROOT / "tests/signalled.py"}" {int(number)} "$@"'
    told.write_text(f"#!/bin/sh\n{script}\n")
    told.chmod(0o755)
    target = ("--cores", 1, baseline.relative_to(study))
    path = f"{told.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    code, said = snakemake(study, *target, own_group=True, PATH=path)
    assert code == 1, said
    log = (study / "results/logs/baseline/tiny-llama.cnle.log").read_text().splitlines()
    assert log[-1].endswith(f"4 of 6 cases are done; stopped by {number.name}; a rerun goes on from here")
    code, said = snakemake(study, *target)
    assert code == 0, said
    assert baseline.read_bytes() == before


def test_a_lost_stage_reruns_itself_and_what_follows(study):
    stage = study / "results/datasets/cnle/stages/deduplicate.parquet"
    aside = stage.rename(study / "aside.parquet")
    try:
        code, said = snakemake(study, "-n", "--cores", 1, "datasets")
    finally:
        aside.rename(stage)
    assert code == 0, said
    rules = ("deduplicate", "split", "embed", "rephrase", "neighbours", "cases", "datasets")
    assert planned(said) == dict.fromkeys(rules, 1)


def test_a_changed_hyperparameter_reruns_only_its_editor(study):
    change = "models={tiny-llama: {editors: {grace: {steps: 7}}}}"
    code, said = snakemake(study, "-n", "--cores", 1, "results/metrics.parquet", "--config", change)
    assert code == 0, said
    once = dict.fromkeys(("values", "fired", "edit"), len(SMOKE["datasets"]))
    assert planned(said) == {**once, "metrics": 1}


def test_a_script_that_submits_jobs_gives_the_same(study, tmp_path):
    """By an executor for whatever batch system: here each job is started in the background."""
    edited = "results/edits/tiny-llama/cnle/ft_l/fold0.parquet"
    shutil.copytree(study, tmp_path, symlinks=True, dirs_exist_ok=True)
    before = read_parquet(tmp_path / edited, schema=EDITS).drop(columns=["edit_seconds", "peak_memory_mb"])
    (tmp_path / edited).unlink()
    shutil.rmtree(tmp_path / "results/journals")
    submit = f"cd {tmp_path} && {SUBMIT}"
    options = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", submit, "--jobs", 1)
    code, said = snakemake(tmp_path, *options, "--cores", 1, "--", edited)
    assert code == 0, said[-5000:]
    assert len((tmp_path / "submitted").read_text().splitlines()) == 1
    after = read_parquet(tmp_path / edited, schema=EDITS).drop(columns=["edit_seconds", "peak_memory_mb"])
    pd.testing.assert_frame_equal(before, after)


def test_the_full_study_is_planned_without_a_network(tmp_path):
    offline = {"HF_HUB_OFFLINE": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    code, said = snakemake(tmp_path, "-n", "--cores", 1, preset="paper", **offline)
    assert code == 0, said
    assert planned(said)["edit"] == 3 * len(registry.names()) * 2 * 2
    whole = 3 * len(registry.names()) * 2 * 2
    code, said = snakemake(
        tmp_path, "-n", "--cores", 1, "--config", "compute={shards: 4}", preset="paper", **offline
    )
    assert code == 0, said
    jobs = planned(said)
    assert jobs["edit_shard"] == 4 * whole
    assert jobs["merge"] == whole
    assert "edit" not in jobs
    for kind, rows in [("vectors", 2), ("values", 1), ("fired", 1)]:
        assert jobs[f"{kind}_shard"] == 4 * 3 * 2 * 2 * rows
        assert kind not in jobs
    assert jobs["merge_prepared"] == 4 * 3 * 2 * 2


def test_a_wrong_configuration_is_answered_with_the_key(tmp_path):
    code, said = snakemake(tmp_path, "-n", "--config", "evaluaton={cases: 3}")
    assert code != 0
    assert "evaluaton: unknown key (did you mean evaluation?)" in said
    assert "Traceback" not in said
