"""Owners that live, die, are suspended, or are on another node; what else a folder holds is left alone."""

import json
import signal
import subprocess
import sys
import threading

import pytest

from clme import leases
from clme.errors import UserError
from clme.leases import Lease

# Owns the lease until its input ends.
OWNER = """
import sys
from pathlib import Path
from clme.leases import Lease
with Lease(Path(sys.argv[1]), "job") as lease:
    print(lease.number, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that owns the lease."""
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.01)


def record(folder):
    (path,) = folder.glob("job.*.owner")
    return path, json.loads(path.read_bytes())


class Waiting:
    """Takes the lease in a thread, and gives it back when told to."""

    def __init__(self, folder):
        self.lease, self.owns, self.end = Lease(folder, "job"), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with self.lease:
            self.owns.set()
            self.end.wait()

    def finish(self):
        assert self.owns.wait(60)
        self.end.set()
        self.thread.join()


def said(capsys, text):
    """Wait until standard error holds a text."""
    found = ""
    while text not in found:
        found += capsys.readouterr().err
    return found


def test_a_free_lease_is_taken_again_under_the_next_number(tmp_path):
    (tmp_path / "other.000009.owner").touch()
    for number in (1, 2, 3):
        with Lease(tmp_path, "job") as lease:
            assert lease.number == number
            lease.check()
    path, owner = record(tmp_path)
    assert path.name == "job.000003.owner"
    assert owner["released"]


def test_a_living_owner_is_waited_for(tmp_path, owner, capsys):
    waiting = Waiting(tmp_path)
    assert f"process {owner.pid} on " in said(capsys, "works on it; waiting")
    assert not waiting.owns.is_set()
    owner.communicate("")
    waiting.finish()
    assert waiting.lease.number == 2


def test_a_killed_owner_on_this_host_is_succeeded_at_once(tmp_path, owner):
    owner.kill()
    with Lease(tmp_path, "job") as lease:  # not waited for: a zombie is dead, too
        assert lease.number == 2
        lease.check()


def test_a_process_that_has_a_dead_ones_id_is_not_taken_for_it(tmp_path, owner):
    owner.kill()
    path, about = record(tmp_path)
    path.write_text(json.dumps({**about, "pid": 1}))
    with Lease(tmp_path, "job") as lease:
        assert lease.number == 2


def test_an_owner_elsewhere_is_succeeded_when_it_is_silent(tmp_path, owner, capsys, monkeypatch):
    owner.kill()
    path, about = record(tmp_path)
    elsewhere = {**about, "place": "another node", "host": "node7", "job": "4711"}
    path.write_text(json.dumps(elsewhere))
    waiting = Waiting(tmp_path)
    said(capsys, "on node7, job 4711 works on it; waiting")
    assert not waiting.owns.is_set(), "a process id of another node means nothing here"
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.05)
    waiting.finish()
    assert waiting.lease.number == 2


def test_a_sign_of_life_elsewhere_keeps_the_lease(tmp_path, owner, monkeypatch):
    """By a clock that only the test moves: who gives signs of life may take longer than the silence."""
    owner.kill()
    path, about = record(tmp_path)
    now = [0.0]
    looked = threading.Semaphore(0)
    turn = threading.Semaphore(0)

    class Clock:
        def monotonic(self):
            return now[0]

        def sleep(self, _):
            looked.release()
            turn.acquire()

    def beats(number):
        path.write_text(json.dumps({**about, "place": "another node", "beats": number}))

    monkeypatch.setattr(leases, "time", Clock())
    beats(1)
    waiting = Waiting(tmp_path)
    for number in (2, 3, 4):
        looked.acquire()
        beats(number)
        now[0] += 2 * leases.SILENT_SECONDS
        turn.release()
    looked.acquire()
    assert not waiting.owns.is_set()
    now[0] += 2 * leases.SILENT_SECONDS
    turn.release()
    waiting.finish()


def test_an_owner_that_was_suspended_finds_that_it_has_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(leases, "_place", lambda: None)  # as from another node
    with Lease(tmp_path, "job") as first:
        first.check()
        with Lease(tmp_path, "job") as second:
            with pytest.raises(UserError, match=r"job: process \d+ on .* has taken over from this process"):
                first.check()
            second.check()
        with pytest.raises(UserError, match="has taken over"):
            first.check()
    assert record(tmp_path)[1]["token"] == second.token


def test_of_many_processes_one_at_a_time_owns(tmp_path):
    """Each adds one to a number; half of them are killed while they own the lease."""
    script = """
import os, signal, sys
from pathlib import Path
from clme import leases
leases.POLL_SECONDS = 0.001
folder = Path(sys.argv[1])
with leases.Lease(folder, "job") as lease:
    counter = folder / "counter"
    number = int(counter.read_text()) + 1
    counter.write_text(str(number))
    if number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "counter").write_text("0")
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(8)]
    codes = sorted(process.wait() for process in processes)
    assert codes == [-signal.SIGKILL] * 4 + [0] * 4
    assert (tmp_path / "counter").read_text() == "8"


def test_a_number_that_came_late_is_given_back(tmp_path):
    """Another process has had its turn, and removed older files, between looking and taking the number."""
    (tmp_path / "job.000005.owner").write_text("{}")
    late = Lease(tmp_path, "job")
    assert not late._claim(2)
    assert [path.name for path in tmp_path.iterdir()] == ["job.000005.owner"]
    assert not late._claim(5)
    assert late._claim(6)
    assert [path.name for path in tmp_path.iterdir()] == ["job.000006.owner"]


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: the folder can't be made"):
        Lease(tmp_path / "file", "job").__enter__()
