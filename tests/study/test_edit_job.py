"""Whole baseline and edit jobs on a tiny model: killed and continued, failing, refusing what doesn't fit."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM

import prepared
import tiny
from clme.datasets.schema import CASES
from clme.editors.base import Failure
from clme.editors.ft_l import FineTuning
from clme.errors import UserError
from clme.files import read_metadata, read_parquet, write_parquet
from clme.models.manifest import write_manifest
from clme.models.text import Tokenizer
from clme.study import baseline, edit_job
from clme.study.schema import EDITS
from clme.study.settings import BaselineSettings, Compute, EditSettings, Selection

FAST = {"layer": 3, "steps": 3}
COMPUTE = Compute(device="cpu", batch_cases=2)
COSTS = ["edit_seconds", "peak_memory_mb"]


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return prepared.write_cases(tmp_path_factory.mktemp("cases") / "cases.parquet", count=12)


def settings(kind=EditSettings, *, evaluation=None, **values):
    chosen = evaluation or Selection(timed_cases=0, fluency=False)
    own = {"editor": "ft_l", "hyperparameters": FAST} if kind is EditSettings else {}
    return kind(
        **{"model": "tiny", "dataset": "words", "compute": COMPUTE, "evaluation": chosen, **own, **values}
    )


@pytest.fixture(scope="module")
def unedited(model, cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("baseline")
    baseline.run(model, cases, settings(BaselineSettings), folder / "journals", folder / "baseline.parquet")
    return folder / "baseline.parquet"


@pytest.fixture
def run(model, cases, unedited, tmp_path):
    """Runs an edit job; returns its rows."""

    def run(output=None, journals=None, *, model=model, cases=cases, unedited=unedited, **values):
        output = output or tmp_path / "fold0.parquet"
        edit_job.run(
            model, cases, unedited, {}, settings(**values), journals or tmp_path / "journals", output
        )
        return read_parquet(output, schema=EDITS)

    return run


def refused(said, call, *arguments, **values):
    with pytest.raises(UserError, match=said) as error:
        call(*arguments, **values)
    assert "\n" not in str(error.value)


def lines(folder):
    """The lines of a job's journal, over all its runs."""
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines(True)]


# Kills itself in the middle of writing the second finished batch.
KILLED = """
import os, signal
from clme import cli
from clme.study.journal import Journal

write = Journal.write

def killed(self, key, value):
    if sum(name.startswith("batch") for name in self.records) == 1:
        self._stream.write('{"key": "batch case-9", "val')
        self._stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, key, value)

Journal.write = killed
cli.main()
"""


def test_a_killed_job_goes_on_and_gives_the_same_bytes(run, model, cases, unedited, tmp_path, monkeypatch):
    evaluation = Selection(timed_cases=1, fluency=False)
    whole = run(tmp_path / "whole.parquet", tmp_path / "whole", evaluation=evaluation)
    journals, output = tmp_path / "killed", tmp_path / "killed.parquet"
    arguments = [model, cases, unedited, "--settings", settings(evaluation=evaluation).model_dump_json()]
    arguments += ["--journals", journals, "--output", output]
    command = [sys.executable, "-c", KILLED, "edit", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not output.exists()
    before = lines(journals)
    assert [json.loads(line)["key"].split()[0] for line in before[:-1]] == [
        "identity",
        "cost",
        "plan",
        "batch",
    ]
    assert not before[-1].endswith(b"\n")
    finished = set(json.loads(before[3])["value"])

    computed = []
    batch = edit_job._Job.batch

    def noted(self, batch_cases):
        computed.extend(case.case.case_id for case in batch_cases)
        return batch(self, batch_cases)

    monkeypatch.setattr(edit_job._Job, "batch", noted)
    continued = run(output, journals, evaluation=evaluation)
    assert set(computed) == set(whole["case_id"]) - finished
    after = lines(journals)
    assert after[: len(before)] == before, "what was finished stays as it was"
    keys = [json.loads(line)["key"] for line in after if line != before[-1]]
    assert len(keys) == len(set(keys)) == 3 + len(whole) / 2
    assert serialised(continued) == serialised(whole)
    cost = json.loads(before[1])
    timed = continued.set_index("case_id").loc[cost["key"].split()[1]]
    assert timed["edit_seconds"] == cost["value"]["seconds"]
    assert continued["edit_seconds"].notna().sum() == 1


def serialised(frame):
    """The bytes of the columns that aren't measured."""
    table = pa.Table.from_pandas(frame, schema=EDITS, preserve_index=False).drop_columns(COSTS)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def test_two_runs_give_the_same_file(run, tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name, tmp_path / f"{name}.journals", hyperparameters={"layer": 3, "steps": 3})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_rows_are_the_folds_cases_and_say_what_made_them(run, cases, tmp_path):
    found = run(fold=1, editor="grace", row="grace-x", hyperparameters={"layer": 3, "steps": 3})
    assert found["case_id"].tolist() == [f"case-{number}" for number in range(1, 12, 2)]
    assert set(found["fold"]) == {1}
    assert set(found["editor"]) == {"grace-x"}
    assert set(found["status"]) == {"ok"}
    read = read_parquet(cases, schema=CASES).set_index("case_id").loc[found["case_id"]]
    assert found["target"].tolist() == read["target"].tolist()
    metadata = read_metadata(tmp_path / "fold0.parquet")
    assert {"source_hash", "versions", "settings", "seed", "protocol", "hardware", "clme_version"} <= set(
        metadata
    )
    assert {"model_manifest_sha256", "cases_sha256", "baseline_sha256"} <= set(metadata)
    assert json.loads(metadata["settings"])["fold"] == 1


def test_another_setting_starts_another_journal(run, tmp_path):
    run()
    run(hyperparameters={"layer": 2, "steps": 3})
    assert len(list((tmp_path / "journals").glob("*.jsonl"))) == 2


def test_an_output_that_cannot_be_written_loses_no_finished_case(run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    refused(
        r"file: the folder can't be made \(a file has its name\)", run, tmp_path / "file" / "fold0.parquet"
    )

    def again(*_):
        raise AssertionError("a finished batch was computed again")

    monkeypatch.setattr(edit_job._Job, "batch", again)
    assert len(run()) == 6


def test_a_journal_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").touch()
    refused(r"file/journals: the folder can't be made", run, journals=tmp_path / "file" / "journals")


def test_an_error_in_a_later_batch_loses_no_earlier_one(run, tmp_path, monkeypatch):
    batch, seen = edit_job._Job.batch, []

    def breaks(self, batch_cases):
        seen.append(len(batch_cases))
        if len(seen) == 3:
            raise UserError("the disk is full; make room")
        return batch(self, batch_cases)

    monkeypatch.setattr(edit_job._Job, "batch", breaks)
    refused("the disk is full", run)
    keys = [json.loads(line)["key"].split()[0] for line in lines(tmp_path / "journals")]
    assert keys[1:] == ["plan", "batch", "batch"]
    assert len(run()) == 6
    assert sum(seen[3:]) == 2, "only what was not finished is computed"


def test_an_edit_whose_loss_is_not_a_number_fails_alone(tmp_path, capsys):
    """One case's prompt holds a token whose embedding is not a number."""
    folder = tiny.build("qwen2", tmp_path / "model")
    broken = AutoModelForCausalLM.from_pretrained(folder)
    (token,) = Tokenizer.load(folder).encode("~")
    with torch.no_grad():
        broken.get_input_embeddings().weight[token] = float("nan")
    broken.save_pretrained(folder)
    write_manifest(folder, {})
    path = prepared.write_cases(tmp_path / "cases.parquet", count=6)
    frame = read_parquet(path, schema=CASES)
    frame.loc[2, "prompt"] = "Intent: ~ and more\nCode:"
    write_parquet(path, frame, schema=CASES, metadata={})
    journals, before = tmp_path / "journals", tmp_path / "baseline.parquet"
    baseline.run(folder, path, settings(BaselineSettings), journals, before)
    for editor in ("ft_l", "grace"):
        output = tmp_path / f"{editor}.parquet"
        edit_job.run(folder, path, before, {}, settings(editor=editor), journals, output)
        found = read_parquet(output, schema=EDITS).set_index("case_id")
        assert found["status"].to_dict() == {"case-0": "ok", "case-2": "failed", "case-4": "ok"}
        assert "the loss became nan" in found.loc["case-2", "error"]
        assert found.loc["case-0", "error"] == ""
        failed = found.loc["case-2"]
        assert list(failed["specificity_outputs"]) == list(failed["specificity_expected"])
        assert failed["specificity_em"] == 1
        assert failed["edit_steps"] == 0
        assert pd.isna(failed["edit_loss"])
        assert (
            f"{editor} tiny/words fold 0: case case-2 failed: the loss became nan" in capsys.readouterr().err
        )


def test_a_first_case_that_fails_does_not_stop_the_timing(run, monkeypatch):
    edit = FineTuning.edit

    def fails(self, decoder, requests):
        found = edit(self, decoder, requests)
        return [
            Failure("as a test") if r.case_id == "case-0" else e for r, e in zip(requests, found, strict=True)
        ]

    monkeypatch.setattr(FineTuning, "edit", fails)
    found = run(evaluation=Selection(cases=6, timed_cases=6, fluency=False)).set_index("case_id")
    assert found["status"].tolist() == ["failed", "ok", "ok"]
    assert found.loc[["case-2", "case-4"], "edit_seconds"].notna().all()


def test_the_unedited_model_is_not_timed(run):
    found = run(editor="none", hyperparameters={}, evaluation=Selection(timed_cases=4, fluency=False))
    assert found["edit_seconds"].isna().all()
    assert (found["specificity_em"] == 1).all()


def test_a_baseline_of_something_else_is_refused(run, tmp_path):
    refused(
        r"baseline\.parquet: was made with another protocol \(paper, now released\); rerun",
        run,
        protocol="released",
    )
    refused(r"baseline\.parquet: was made with another seed \(0, now 7\); rerun its rule", run, seed=7)
    others = prepared.write_cases(tmp_path / "others.parquet", count=12, seed=1)
    refused(r"baseline\.parquet: was made with another cases_sha256", run, cases=others)
    other = tiny.build("llama", tmp_path / "other", seed=1)
    write_manifest(other, {})
    refused(r"baseline\.parquet: was made with another model_manifest_sha256", run, model=other)


def test_a_baseline_that_lacks_cases_is_refused(run, model, cases, tmp_path):
    few = settings(BaselineSettings, evaluation=Selection(cases=2, timed_cases=0, fluency=False))
    baseline.run(model, cases, few, tmp_path / "journals", tmp_path / "few.parquet")
    refused(
        r"few\.parquet: lacks 5 cases, such as case-2; rerun its rule", run, unedited=tmp_path / "few.parquet"
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"hyperparameters": {"layer": 6}},
            r"layer 6: the model has layers 0 to 5; change the editor's `layer`",
        ),
        (
            {"hyperparameters": {"layer": 2, "module": "mlp.x"}},
            r"module 'mlp\.x': layer 2 has no such linear module",
        ),
        ({"hyperparameters": {"layr": 2}}, r"hyperparameters of ft_l: layr: Extra inputs are not permitted"),
        ({"hyperparameters": {"steps": 0}}, r"hyperparameters of ft_l: steps: Input should be greater"),
        ({"editor": "grce"}, r"editor 'grce': not registered; there are none, ft_l"),
        ({"evaluation": Selection(exclude=("x",))}, r"evaluation\.exclude: no such case: x"),
    ],
)
def test_settings_that_do_not_fit_stop_before_anything_is_computed(run, tmp_path, values, said):
    refused(said, run, **values)
    assert not (tmp_path / "journals").exists()


def test_inputs_that_are_not_there(run, tmp_path):
    gone = tmp_path / "gone"
    refused(r"gone: can't be read \(No such file", run, cases=gone)
    refused(r"gone: can't be read \(No such file", run, unedited=gone)
    refused(r"gone/manifest\.json: no manifest", run, model=gone)
    (tmp_path / "text").write_text("no Parquet")
    refused(
        r"text: not a readable Parquet file .*; delete it and rerun its rule", run, unedited=tmp_path / "text"
    )


def test_a_fold_without_selected_cases_is_an_empty_file(run):
    assert len(run(fold=1, evaluation=Selection(cases=1, timed_cases=0, fluency=False))) == 0


def test_portions_of_a_batch_give_the_results_of_the_whole(run):
    whole = run(editor="grace", compute=Compute(batch_cases=8, padding=1.0))
    parted = run(editor="grace", compute=Compute(batch_cases=8, padding=0.0))
    assert list(whole["case_id"]) == list(parted["case_id"])
    assert list(whole["effectiveness_output"]) == list(parted["effectiveness_output"])
    assert whole["edit_loss"].to_numpy() == pytest.approx(parted["edit_loss"].to_numpy(), rel=1e-3)
