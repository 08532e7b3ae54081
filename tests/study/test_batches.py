"""Batches: their limits, memory that is measured, memory that runs out."""

import json

import pytest
import torch

import prepared
from clme.errors import UserError
from clme.study import batches, jobs, parts
from clme.study.batches import BatchRun, plan
from clme.study.journal import Journal
from clme.study.measure import Cost
from clme.study.settings import BaselineSettings, Compute

CPU = torch.device("cpu")
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"


@pytest.fixture(scope="module")
def cases(tiny_models, tmp_path_factory):
    path = prepared.write_cases(tmp_path_factory.mktemp("cases") / "cases.parquet", count=12)
    return jobs.load(tiny_models["llama"], path, BaselineSettings(model="tiny", dataset="words")).cases


def names(batch):
    return [case.case.case_id for case in batch]


def test_the_plan_keeps_its_limits_and_loses_no_case(cases):
    for batch_cases, tokens in ((1, 10_000), (3, 10_000), (100, 120), (100, 1), (100, 10_000)):
        found = plan(cases, batch_cases, tokens)
        assert sorted(name for batch in found for name in names(batch)) == sorted(names(cases))
        for batch in found:
            longest = max(map(batches.length, batch))
            assert len(batch) <= batch_cases
            assert len(batch) == 1 or len(batch) * longest <= tokens
        assert plan(cases[::-1], batch_cases, tokens) == found


class Work:
    """Computes a batch, as long as it isn't larger than memory allows."""

    def __init__(self, fits, error=None):
        self.fits, self.error, self.done = fits, error or torch.OutOfMemoryError("as a test"), []

    def __call__(self, batch):
        if len(batch) > self.fits:
            raise self.error
        self.done.append(names(batch))
        return {name: len(batch) for name in names(batch)}


def run(folder, cases, work, **limits):
    compute = Compute(**{"batch_cases": 8, **limits})
    with Journal(folder, {"work": "test"}) as journal:
        return BatchRun("work", journal, compute, "edit_tokens", CPU, work).run(cases), journal.path


def recorded(path):
    return [(one["key"], one["value"]) for one in map(json.loads, path.read_text().splitlines())]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("gone"), RuntimeError(ALLOCATOR), MemoryError()])
def test_where_memory_runs_out_batches_are_halved_and_nothing_is_lost(tmp_path, cases, error, capsys):
    work = Work(3, error)
    results, path = run(tmp_path, cases, work)
    assert results.keys() == set(names(cases))
    assert [len(batch) for batch in work.done] == [2, 2, 2, 2, 2, 2]
    assert "8 cases need too much memory; halved" in capsys.readouterr().err
    assert [name for batch in work.done for name in batch] == names(sorted_cases(cases))
    again, _ = run(tmp_path, cases, Work(0))
    assert again == results, "a job that goes on takes what is finished"
    plans = [value for key, value in recorded(path) if key == "plan"]
    assert [len(batch) for batch in plans[0]] == [8, 4]
    assert plans[-1] == work.done


def sorted_cases(cases):
    return [case for batch in plan(cases, len(cases), 10_000) for case in batch]


def test_a_job_that_goes_on_runs_the_batches_of_its_plan(tmp_path, cases):
    class Breaks(Work):
        def __call__(self, batch):
            if len(self.done) == 1:
                raise UserError("the disk is full")
            return super().__call__(batch)

    work = Breaks(4)
    with pytest.raises(UserError, match="the disk is full"):
        run(tmp_path, cases, work)
    assert [len(batch) for batch in work.done] == [4]
    rest = Work(100)
    results, _ = run(tmp_path, cases, rest, batch_cases=2)
    assert [len(batch) for batch in rest.done] == [4, 4], "more memory, or other limits, change no plan"
    assert results.keys() == set(names(cases))


def test_a_case_that_fits_no_memory_is_named(tmp_path, cases):
    with pytest.raises(UserError, match=r"memory doesn't suffice for case case-\d+ alone"):
        run(tmp_path, cases, Work(0))


def test_other_errors_are_no_lack_of_memory(tmp_path, cases):
    with pytest.raises(RuntimeError, match="another"):
        run(tmp_path, cases, Work(0, RuntimeError("another")))


@pytest.mark.parametrize(("memory", "sizes"), [(100, [1] * 12), (130, [2] * 6), (330, [12]), (50, [1] * 12)])
def test_the_largest_batch_that_fits_is_found(tmp_path, cases, monkeypatch, memory, sizes):
    """One case takes 100 MB, and each more of its length 20."""
    monkeypatch.setattr(batches, "length", lambda _: 10)
    asked = []

    def measure(_, call):
        call()
        asked.append(len(work.done[-1]))
        return Cost(1.0, 80.0 + 20.0 * len(work.done[-1]))

    monkeypatch.setattr(batches.Meter, "measure", measure)
    work = Work(100)
    results, path = run(tmp_path, cases, work, batch="auto", memory_mb=memory)
    assert asked == [1, 2]
    assert [len(batch) for batch in work.done[2:]] == sizes
    assert results.keys() == set(names(cases))
    assert dict(recorded(path))["plan"] == work.done[2:]


def test_without_room_for_a_second_case_each_is_a_batch(tmp_path, cases):
    work = Work(1)
    run(tmp_path, cases, work, batch="auto", memory_mb=10_000)
    assert [len(batch) for batch in work.done[1:]] == [1] * 12


def test_real_memory_makes_a_plan(tmp_path, cases):
    work = Work(100)
    _, path = run(tmp_path, cases, work, batch="auto")
    planned = dict(recorded(path))["plan"]
    assert sorted(name for batch in planned for name in batch) == sorted(names(cases))


def test_parts_are_halved_and_put_together(tmp_path):
    asked = []

    def compute(part):
        asked.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("as a test")
        return {"doubled": torch.tensor(part) * 2}

    (found,) = parts.in_parts("parts", [[1, 2, 3, 4, 5]], tmp_path, compute)
    assert found["doubled"].tolist() == [2, 4, 6, 8, 10]
    assert asked == [5, 2, 3, 1, 2]
    with pytest.raises(UserError, match="a single item"):
        parts.in_parts("none", [[1, 2]], tmp_path / "none", lambda _: exhausted())


def exhausted():
    raise MemoryError
