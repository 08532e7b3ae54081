import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import wheels
from clme import downloads
from clme.downloads import ATTEMPTS, download_wheel
from clme.errors import UserError


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes wheels from, in place of an index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def no_pip(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pip was started")

    monkeypatch.setattr(subprocess, "run", refuse)


def test_a_wheel_is_downloaded_once(index, tmp_path, monkeypatch):
    sha256 = wheels.build(index, "corpus-a", "1.0", {"corpus_a/x.py": b"x = 1\n"})
    wheel = download_wheel("corpus-a==1.0", sha256, tmp_path / "to" / "here")
    assert wheel.read_bytes() == next(index.iterdir()).read_bytes()
    assert wheel.name == "corpus_a-1.0-py3-none-any.whl"
    no_pip(monkeypatch)
    assert download_wheel("corpus-a==1.0", sha256, tmp_path / "to" / "here") == wheel


def test_a_damaged_wheel_is_downloaded_again(index, tmp_path):
    sha256 = wheels.build(index, "corpus-a", "1.0", {"corpus_a/x.py": b"x = 1\n"})
    wheel = download_wheel("corpus-a==1.0", sha256, tmp_path / "here")
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[:100])
    assert download_wheel("corpus-a==1.0", sha256, tmp_path / "here").read_bytes() == whole


def test_two_downloads_at_once(index, tmp_path):
    sha256 = wheels.build(index, "corpus-a", "1.0", {"corpus_a/x.py": b"x = 1\n"})
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: download_wheel("corpus-a==1.0", sha256, tmp_path / "here"), range(2)))
    assert found[0] == found[1]
    assert [path.suffix for path in sorted((tmp_path / "here").iterdir())].count(".whl") == 1


def test_another_file_is_refused_at_once(index, tmp_path, waits):
    got = wheels.build(index, "corpus-a", "1.0", {"corpus_a/x.py": b"x = 1\n"})
    with pytest.raises(UserError, match=rf"corpus-a==1\.0: .*sha256 {got}, expected {'0' * 64};") as error:
        download_wheel("corpus-a==1.0", "0" * 64, tmp_path / "here")
    assert "\n" not in str(error.value)
    assert not waits
    assert not list((tmp_path / "here").glob("*.whl"))


def test_an_unknown_version_is_refused_at_once(index, tmp_path, waits):
    wheels.build(index, "corpus-a", "1.0", {"corpus_a/x.py": b"x = 1\n"})
    with pytest.raises(UserError, match=r"corpus-a==2\.0: the package index has no such wheel") as error:
        download_wheel("corpus-a==2.0", "0" * 64, tmp_path / "here")
    assert "\n" not in str(error.value)
    assert not waits


def _pip_that_says(said, monkeypatch):
    calls = []

    def run(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_a_network_that_is_down_is_tried_again_with_longer_pauses(tmp_path, monkeypatch, waits):
    calls = _pip_that_says("WARNING: Retrying\nERROR: Could not connect to host\n", monkeypatch)
    with pytest.raises(UserError, match=rf"{ATTEMPTS} attempts \(ERROR: Could not connect") as error:
        download_wheel("corpus-a==1.0", "0" * 64, tmp_path)
    assert "\n" not in str(error.value)
    assert len(calls) == ATTEMPTS
    assert calls[0][0] == sys.executable
    assert len(waits) == ATTEMPTS - 1
    assert sorted(waits) == waits
    assert waits[-1] > waits[0]


def test_an_index_that_knows_no_version_may_be_out_of_reach(index, tmp_path, monkeypatch, waits):
    """pip says "No matching distribution" of a network that is down, too; so it is tried again."""
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)
    with pytest.raises(UserError, match=r"does not know the package, or can't be reached\); check the name"):
        download_wheel("corpus-a==1.0", "0" * 64, tmp_path / "here")
    assert len(waits) == 1
    assert not list(index.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: the folder can't be made"):
        download_wheel("corpus-a==1.0", "0" * 64, tmp_path / "file")
