"""Edit jobs that are divided: together they are the whole job, byte for byte."""

import json
import signal

import pyarrow.parquet as pq
import pytest
import yaml

import prepared
from clme.commands.plan import PRESETS, PUBLISHED
from clme.errors import UserError
from clme.files import read_parquet
from clme.stopping import Stopped, told_by_signals
from clme.study import baseline, batches, config, edit_job, jobs, merge, needs, shards
from clme.study.schema import EDITS
from clme.study.settings import BaselineSettings, Compute, EditSettings, Selection, Shard

SHARED = {
    "model": "tiny",
    "dataset": "words",
    "compute": Compute(device="cpu", batch_cases=2),
    "evaluation": Selection(timed_cases=0, fluency=False),
}


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return prepared.write_cases(tmp_path_factory.mktemp("cases") / "cases.parquet", count=20)


@pytest.fixture(scope="module")
def unedited(model, cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("baseline")
    baseline.run(model, cases, BaselineSettings(**SHARED), folder / "journals", folder / "baseline.parquet")
    return folder / "baseline.parquet"


@pytest.fixture
def run(model, cases, unedited, tmp_path):
    """Runs an edit job, or a shard of one; returns the path of its rows."""

    def run(name, shard=None, **values):
        values = {"editor": "ft_l", "hyperparameters": {"layer": 3, "steps": 3}, **SHARED, **values}
        made = EditSettings(**values, shard=shard and Shard(number=shard[0], of=shard[1]))
        edit_job.run(model, cases, unedited, {}, made, tmp_path / "journals", tmp_path / name)
        return tmp_path / name

    return run


def test_shards_put_together_are_the_whole_file(run, cases, tmp_path):
    whole = run("whole.parquet")
    for count in (1, 2, 3):
        parts = [run(f"{number}of{count}", (number, count)) for number in range(1, count + 1)]
        merge.run(parts[::-1], cases, tmp_path / "merged.parquet")
        assert (tmp_path / "merged.parquet").read_bytes() == whole.read_bytes()


def test_more_shards_than_batches(run, cases, tmp_path):
    """Some have no case; one case only is timed, and once."""
    evaluation = Selection(cases=6, timed_cases=1, fluency=False)
    parts = [run(f"{number}of4", (number, 4), evaluation=evaluation) for number in range(1, 5)]
    assert 0 in [len(read_parquet(path)) for path in parts]
    merge.run(parts, cases, tmp_path / "merged.parquet")
    merged = read_parquet(tmp_path / "merged.parquet", schema=EDITS)
    assert merged["case_id"].tolist() == ["case-0", "case-2", "case-4"]
    assert merged["edit_seconds"].notna().tolist() == [True, False, False]


def test_a_shard_that_is_stopped_goes_on(run, cases, tmp_path, monkeypatch):
    whole = run("whole.parquet")
    other = run("2of2", (2, 2))
    batch, done = edit_job._Job.batch, []

    def told(self, batch_cases):
        done.extend(case.case.case_id for case in batch_cases)
        signal.raise_signal(signal.SIGTERM)
        return batch(self, batch_cases)

    monkeypatch.setattr(edit_job._Job, "batch", told)
    with told_by_signals(), pytest.raises(Stopped, match="ft_l tiny/words fold 0 shard 1 of 2: 2 of"):
        run("1of2", (1, 2))
    with told_by_signals(), pytest.raises(Stopped, match="ft_l tiny/words fold 0 shard 1 of 2: 4 of"):
        run("1of2", (1, 2))
    with told_by_signals():
        part = run("1of2", (1, 2))
    assert len(done) == len(set(done)) == len(read_parquet(part)), "no batch is computed twice"
    merge.run([part, other], cases, tmp_path / "merged.parquet")
    assert (tmp_path / "merged.parquet").read_bytes() == whole.read_bytes()


def refused(said, parts, cases, tmp_path):
    with pytest.raises(UserError, match=said) as error:
        merge.run(parts, cases, tmp_path / "merged.parquet")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "merged.parquet").exists()


def test_what_is_no_whole_set_of_shards_is_refused(run, cases, tmp_path):
    first, second, third = (run(f"{number}of3", (number, 3)) for number in (1, 2, 3))
    refused(r"expected all shards of one job \(have: 1 of 3, 2 of 3\)", [first, second], cases, tmp_path)
    refused(r"have: 1 of 3, 1 of 3, 2 of 3", [first, first, second], cases, tmp_path)
    refused(r"have: no shard", [run("whole")], cases, tmp_path)
    other = run("other", (2, 3), hyperparameters={"layer": 3, "steps": 2})
    refused("other and .*1of3: were made with different settings", [first, other, third], cases, tmp_path)
    few = prepared.write_cases(tmp_path / "few.parquet", count=12)
    refused("have 10 rows for the fold's 6 cases", [first, second, third], few, tmp_path)
    table = pq.read_table(second)
    about = {**table.schema.metadata, b"source_hash": b"another"}
    pq.write_table(table.replace_schema_metadata(about), second)
    refused("made with different source of ft_l", [first, second, third], cases, tmp_path)


def test_shards_on_different_hardware_say_so(run, cases, tmp_path):
    first, second = (run(f"{number}of2", (number, 2)) for number in (1, 2))
    table = pq.read_table(second)
    here = json.loads(table.schema.metadata[b"hardware"])
    about = {**table.schema.metadata, b"hardware": json.dumps({**here, "device": "another"}).encode()}
    pq.write_table(table.replace_schema_metadata(about), second)
    merge.run([first, second], cases, tmp_path / "merged.parquet")
    found = json.loads(pq.read_schema(tmp_path / "merged.parquet").metadata[b"hardware"])
    assert found == {**here, "device": f"{here['device']}, another"}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("limits", [(1, 10_000), (3, 10_000), (8, 120)])
def test_parts_hold_each_batch_once_and_are_planned_alike(model, cases, count, limits):
    loaded = jobs.load(model, cases, BaselineSettings(**SHARED)).cases
    planned = batches.plan(loaded, *limits)
    parts = [batches.shard(planned, number, count) for number in range(1, count + 1)]
    assert [batch for part in parts for batch in part] == planned
    for part in parts:
        assert batches.plan([case for batch in part for case in batch], *limits) == part
    if count <= 3 and limits[0] == 1:
        tokens = [sum(batches.length(case) for batch in part for case in batch) for part in parts]
        assert max(tokens) < 1.5 * min(tokens)


def study(**compute):
    raw = yaml.safe_load((PRESETS / "paper.yaml").read_text(encoding="utf-8"))
    return config.load({**raw, "compute": compute})


def test_jobs_are_divided_by_what_the_forecast_says():
    """25.2 hours of FT-L on CodeLlama and CNLE in two folds, and jobs of which half of six hours is used."""
    found = shards.numbers(study(shards="auto", job_hours=6), PUBLISHED)
    assert found["codellama-7b/cnle/ft_l"] == 5
    assert "stablecode-3b/csne/a_grace" not in found
    assert shards.numbers(study(shards="auto", job_hours=1000), PUBLISHED) == {}
    assert shards.numbers(study(), PUBLISHED) == {}
    assert set(shards.numbers(study(shards=3), PUBLISHED).values()) == {3}


def test_searches_are_divided_by_what_the_forecast_says():
    """PMET's takes more than 70 hours on CodeQwen and CSNE in each fold; half of a job's 24 are used."""
    found = shards.of_needed(study(shards="auto", job_hours=24), PUBLISHED)
    assert found["vectors/codeqwen-7b/csne"] > 70 / 12
    assert found["vectors/codeqwen-7b/csne"] >= found["vectors/codeqwen-7b/cnle"]
    assert found["vectors/codeqwen-7b/cnle"] > found["vectors/stablecode-3b/cnle"]
    assert "values/stablecode-3b/cnle" not in found
    assert shards.of_needed(study(shards="auto", job_hours=1000), PUBLISHED) == {}
    assert shards.of_needed(study(), PUBLISHED) == {}
    assert set(shards.of_needed(study(shards=3), PUBLISHED).values()) == {3}


def test_each_shards_settings_say_which_it_is():
    of = study(shards=2)
    digest = needs.paths(of, "stablecode-3b", "cnle", "grace", "0")["values"].split(".")[-2]
    names = {"digest": digest, "model": "stablecode-3b", "dataset": "cnle", "fold": "0"}
    assert needs.settings(of, "values", **names).shard is None
    assert needs.settings(of, "values", **names, shard="2", shards="4").shard == Shard(number=2, of=4)


def test_a_model_of_unknown_size_is_named():
    one = {"models": {"other": {"source": "hub:some/other"}}}
    raw = yaml.safe_load((PRESETS / "paper.yaml").read_text(encoding="utf-8"))
    unknown = config.load({**raw, **one, "compute": {"shards": "auto", "job_hours": 6}})
    with pytest.raises(UserError, match=r"compute\.shards: auto needs the models' sizes \(hub:some/other"):
        shards.numbers(unknown, PUBLISHED)


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        ({"shards": 0}, r"compute\.shards.*greater than or equal to 1"),
        ({"shards": "automatic"}, r"compute\.shards"),
        ({"shards": "auto"}, "shards: auto needs job_hours"),
        ({"job_hours": 0}, r"compute\.job_hours: Input should be greater than 0"),
    ],
)
def test_wrong_shards_are_answered_with_the_key(compute, said):
    with pytest.raises(UserError, match=said):
        study(**compute)


def test_how_jobs_are_divided_does_not_change_what_they_are():
    """So results and journals of one number of shards stay valid for another."""
    assert study(shards=4, job_hours=2).compute.of_a_job() == study().compute.of_a_job() == Compute()
