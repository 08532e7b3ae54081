"""Jobs that are told to stop, or whose time ends: status 75, nothing that is finished is lost."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import prepared
from clme import allocation, stopping
from clme.stopping import STATUS, Stopped, Turns, told_by_signals
from clme.study import baseline
from clme.study.parts import in_parts
from clme.study.settings import BaselineSettings, Compute, Selection

SIGNALLED = str(Path(__file__).parents[1] / "signalled.py")
CLME = Path(sys.executable).with_name("clme")
SETTINGS = BaselineSettings(
    model="tiny",
    dataset="words",
    compute=Compute(device="cpu", batch_cases=2),
    evaluation=Selection(timed_cases=0, fluency=False),
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return prepared.write_cases(tmp_path_factory.mktemp("cases") / "cases.parquet", count=6)


def arguments(model, cases, folder):
    options = ["--settings", SETTINGS.model_dump_json(), "--journals", folder / "journals"]
    return list(map(str, ["baseline", model, cases, *options, "--output", folder / "baseline.parquet"]))


def keys(folder):
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line)["key"].split()[0] for line in lines]


@pytest.mark.parametrize("number", stopping.SIGNALS, ids=lambda number: number.name)
def test_a_job_that_is_told_to_stop_finishes_its_batch(tiny_models, cases, tmp_path, number):
    """In the shell of the rules, which is told to stop as well, and so is what writes the log."""
    model = tiny_models["llama"]
    command = shlex.join([sys.executable, SIGNALLED, str(int(number)), *arguments(model, cases, tmp_path)])
    shell = f"set -euo pipefail; trap '' TERM; {command} 2>&1 | tee {tmp_path}/log"
    done = subprocess.run(
        ["bash", "-c", shell],
        check=False,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),  # as Snakemake has it
    )
    assert done.returncode == STATUS == 75
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last == (
        "clme: baseline tiny/words: 2 of 6 cases are done;"
        f" stopped by {number.name}; a rerun goes on from here"
    )
    assert keys(tmp_path / "journals") == ["identity", "plan", "batch"]
    assert not (tmp_path / "baseline.parquet").exists()
    baseline.run(model, cases, SETTINGS, tmp_path / "journals", tmp_path / "baseline.parquet")
    baseline.run(model, cases, SETTINGS, tmp_path / "whole", tmp_path / "whole.parquet")
    assert keys(tmp_path / "journals") == keys(tmp_path / "whole")
    assert (tmp_path / "baseline.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_job_whose_time_ends_does_not_begin_a_batch(tiny_models, cases, tmp_path):
    command = [CLME, *arguments(tiny_models["llama"], cases, tmp_path)]
    end = {allocation.END_VARIABLE: str(int(time.time() + stopping.MARGIN_SECONDS - 1))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **end})
    assert done.returncode == STATUS, done.stderr
    assert "0 of 6 cases are done; stopped before the job's time ends" in done.stderr.splitlines()[-1]
    assert keys(tmp_path / "journals") == ["identity", "plan"]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves, in a job that has a hundred seconds left."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    monkeypatch.setattr(stopping, "time", Clock())
    monkeypatch.setattr(allocation, "seconds_left", lambda: 100.0)
    return stopping.time


def test_a_batch_is_begun_if_the_slowest_so_far_would_fit(clock):
    kept = []
    turns = Turns()
    for now in (0, 30, 50, 60):
        clock.now = now
        turns.next("", lambda: kept.append(1))
    clock.now = 61  # thirty seconds more would not leave what results take
    with pytest.raises(Stopped, match=r"^7 are done; stopped before the job's time ends; a rerun goes on"):
        turns.next("7 are done", lambda: kept.append(2))
    assert kept == [2]


def test_without_an_end_nothing_stops(clock, monkeypatch):
    monkeypatch.setattr(allocation, "seconds_left", lambda: None)
    turns = Turns()
    for now in (0, 1e3, 1e9):
        clock.now = now
        turns.next("")


def test_parts_that_are_finished_are_kept(tmp_path):
    done = []

    def compute(part):
        done.append(part)
        signal.raise_signal(signal.SIGTERM)
        return {"x": torch.tensor(part)}

    for parts in ([[1]], [[1], [2]], [[1], [2], [3]]):
        with told_by_signals(), pytest.raises(Stopped, match=f"work: {len(parts)} of 4 cases are done"):
            in_parts("work", [[1], [2], [3], [4]], tmp_path, compute)
    assert done == [[1], [2], [3]]
    with told_by_signals():
        found = in_parts("work", [[1], [2], [3], [4]], tmp_path, compute)
    assert [part["x"].tolist() for part in found] == [[1], [2], [3], [4]], "what is finished counts"


def test_signals_do_what_they_did_afterwards():
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with told_by_signals():
        signal.raise_signal(signal.SIGUSR1)
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
    stopping.heed("nothing is left of the signal")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("59", 59),
        ("0:07", 7),
        ("3:04", 184),
        ("1:02:03", 3723),
        ("2-00:00:10", 172810),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_what_is_left_as_squeue_says_it(tmp_path, monkeypatch, said, seconds):
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ "$*" = "--noheader --format=%L --jobs 4711" ] && echo "  {said}"\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(allocation.END_VARIABLE, raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert allocation.seconds_left() is None
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert allocation.seconds_left() == seconds
    assert allocation.job_id() == "4711"
    squeue.unlink()
    assert allocation.seconds_left() is None
