"""The edit job with needed files: used, checked, and left out where time is measured."""

import json

import pytest
from pandas.testing import assert_frame_equal

import prepared
from clme.editors import codebooks
from clme.errors import UserError
from clme.evaluation.decoding import Continuer
from clme.files import read_metadata, read_parquet
from clme.study import baseline, edit_job
from clme.study.schema import EDITS
from clme.study.settings import Compute, EditSettings, Selection
from clme.tensors import read_tensor_metadata, read_tensors, write_tensors

SETTINGS = EditSettings(
    model="tiny",
    dataset="words",
    editor="grace",
    compute=Compute(batch_cases=3),
    evaluation=Selection(cases=6, timed_cases=2),
    hyperparameters={"layer": 3, "steps": 3},
)


def made_ready(model, tmp_path, settings):
    """Make all that an edit job takes; returns a function that runs it and reads the results."""
    cases = prepared.write_cases(tmp_path / "cases.parquet")
    shared = settings.model_dump(include={"model", "dataset", "compute", "evaluation"})
    unedited = tmp_path / "baseline.parquet"
    baseline.run(model, cases, baseline.BaselineSettings(**shared), tmp_path / "b", unedited)
    files = prepared.make(
        edit_job.make_editor(settings), model, cases, tmp_path, evaluation=settings.evaluation
    )

    def run(files=files, settings=settings):
        output = tmp_path / "edits.parquet"
        edit_job.run(model, cases, unedited, files, settings, tmp_path / "journals", output)
        return read_parquet(output, schema=EDITS)

    run.files, run.journals, run.output = files, tmp_path / "journals", tmp_path / "edits.parquet"
    return run


@pytest.fixture
def job(tiny_models, tmp_path):
    return made_ready(tiny_models["llama"], tmp_path, SETTINGS)


def test_what_is_measured_is_not_loaded(job, monkeypatch):
    asked = []
    real = codebooks.optimise

    def counted(decoder, site, config, seed, requests):
        asked.extend(request.case_id for request in requests)
        return real(decoder, site, config, seed, requests)

    monkeypatch.setattr(codebooks, "optimise", counted)
    edits = job()
    # Of the two timed cases, case-0 is in fold 0: once to warm up, once for its time.
    assert asked == ["case-0", "case-0"]
    assert list(edits["case_id"]) == ["case-0", "case-2", "case-4"]
    assert edits["edit_seconds"].notna().tolist() == [True, False, False]
    asked.clear()
    without = job(files={})
    assert sorted(asked[2:]) == ["case-0", "case-2", "case-4"]
    assert (edits["effectiveness_output"] == without["effectiveness_output"]).all()


def test_another_file_starts_another_journal(job):
    path = job.files["values"]
    job(files={"values": path})
    job(files={"values": path})
    assert len(list(job.journals.glob("*.jsonl"))) == 1
    write_tensors(path, read_tensors(path), {**read_tensor_metadata(path), "hardware": "another"})
    job(files={"values": path})
    assert len(list(job.journals.glob("*.jsonl"))) == 2


def test_a_file_of_other_settings_is_refused(job):
    other = SETTINGS.model_copy(update={"hyperparameters": {"layer": 2, "steps": 3}})
    with pytest.raises(UserError, match="another layer"):
        job(settings=other)


RADII = {"none of the neighbours fire": 1e-3, "some fire": 5.0, "all fire": 1e6}


@pytest.mark.parametrize("radius", RADII.values(), ids=RADII)
@pytest.mark.parametrize("editor", ["grace", "a_grace"])
def test_what_was_said_with_values_in_place_is_what_the_job_would_have_said(
    tiny_models, tmp_path, monkeypatch, editor, radius
):
    hyperparameters = {"layer": 3, "steps": 3, "radius": radius}
    if editor == "a_grace":
        hyperparameters |= {"epochs": 2, "variant": "clean", "held_out": 0.5}
    settings = SETTINGS.model_copy(update={"editor": editor, "hyperparameters": hyperparameters})
    run = made_ready(tiny_models["llama"], tmp_path, settings)
    run_rows = []
    real = Continuer.continue_rows

    def counted(self, rows):
        run_rows.extend(rows)
        return real(self, rows)

    monkeypatch.setattr(Continuer, "continue_rows", counted)

    def results(*left_out):
        run_rows.clear()
        kept = {kind: path for kind, path in run.files.items() if kind not in left_out}
        return run(files=kept).drop(columns=["edit_seconds", "peak_memory_mb"])

    alone = results("fired", "representations")
    assert len(run_rows) == 3 * (2 + 2)
    assert_frame_equal(results("representations"), alone)
    assert_frame_equal(results(), alone)
    if editor == "a_grace":
        # Where representations tell which neighbours fire, no other prompt is run.
        assert len(run_rows) == {1e-3: 0, 1e6: 3 * 2}.get(radius, len(run_rows)) < 3 * (2 + 2)


def test_outputs_of_other_values_are_refused(job):
    path = job.files["values"]
    write_tensors(path, read_tensors(path), {**read_tensor_metadata(path), "hardware": "another"})
    with pytest.raises(UserError, match="made with other values"):
        job()


def test_what_a_needed_file_says_of_itself_is_said_of_the_results(job):
    path = job.files["values"]
    write_tensors(path, read_tensors(path), {**read_tensor_metadata(path), "note": "made in haste"})
    job(files={"values": path})
    assert json.loads(read_metadata(job.output)["notes"]) == ["made in haste"]
