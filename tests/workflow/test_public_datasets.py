"""`snakemake datasets` from the public layouts, served by mirrors on this machine."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import corpora
import tiny
from chat_server import Chat
from clme.datasets.codesearchnet import REPOSITORY as SEARCHNET
from clme.datasets.conala import REPOSITORY as CONALA
from clme.datasets.released import RECORD
from clme.datasets.schema import CASES, UNEDITED
from clme.files import read_parquet
from file_server import FileServer
from hub_server import COMMIT, Hub

LABELLED = 100
ROOT = Path(__file__).parents[2]
SEARCHNET_FILES = {
    "python/train-0.parquet": corpora.parquet(corpora.searchnet_rows(range(8), "train")),
    "python/test-0.parquet": corpora.parquet(corpora.searchnet_rows(range(50, 54), "test")),
}


@pytest.fixture
def folder(tmp_path):
    """A working directory with the workflow's files, whose lock is a copy, and the models of the study."""
    for name in ("Snakefile", "workflow", "envs", "paper/published"):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "clme"))
        else:
            shutil.copyfile(source, target)
    (tmp_path / "workflow/locks/hub.json").write_text("{}\n")
    tiny.build_encoder(tmp_path / "models/encoder")
    return tmp_path


def write_study(folder, source, task, zenodo="https://zenodo.org", services=(), **changes):
    content = {
        "study": "public",
        "editors": ["none"],
        "mirrors": {"zenodo": zenodo},
        "services": dict(services),
        "encoders": {"tiny": {"source": "path:models/encoder"}},
        "datasets": {task: {"task": task, "source": source, "encoder": "tiny", **changes}},
        "models": {"tiny-llama": {"source": "path:models/llama"}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))


def begin(folder, endpoint):
    command = [sys.executable, "-m", "snakemake", "datasets", "--configfile", "study.yaml"]
    command += ["--nocolor", "--cores", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_ENDPOINT": endpoint}
    together = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **together)


def snakemake(folder, endpoint):
    process = begin(folder, endpoint)
    said, _ = process.communicate()
    assert process.returncode == 0, said[-6000:]
    return said


def lock(folder):
    return json.loads((folder / "workflow/locks/hub.json").read_text())


@contextlib.contextmanager
def mirror(files, repository):
    name, _, revision = repository.partition("@")
    with Hub(files, name, "datasets") as hub:
        hub.revisions.add(revision)
        yield hub


def answer(text):
    return "Very Relevant" if "these levels" in text else "put into order " + text.split()[-1]


@pytest.mark.parametrize(
    ("source", "task", "repository", "files", "used"),
    [
        (
            "conala",
            "cnle",
            CONALA,
            {"data/train-0.parquet": corpora.conala(30)},
            {"grader": "chat", "rewriter": "chat"},
        ),
        ("codesearchnet", "csne", SEARCHNET, SEARCHNET_FILES, {}),
    ],
)
def test_a_dataset_is_built_from_a_mirror_of_the_hub(folder, source, task, repository, files, used):
    with Chat(answer) as chat, mirror(files, repository) as hub:
        services = {"chat": {"base_url": chat.base_url, "model": "the server's"}}
        write_study(folder, source, task, services=services, neighbours=2, **used)
        snakemake(folder, hub.endpoint)
        cases = read_parquet(folder / f"results/datasets/{task}/cases.parquet", schema=CASES)
        assert len(cases) > 0
        assert cases["neighbours"].map(len).eq(2).all()
        assert lock(folder)[f"datasets/{repository}"]["revision"] == COMMIT
        card = (folder / f"results/datasets/{task}/README.md").read_text()
        assert all(name in card for name in [*files, *used.values()])
        assert len(chat.asked) == (LABELLED + 30 + len(cases) if task == "cnle" else 0)
        hub.requests.clear()
        chat.asked.clear()
        assert "Nothing to be done" in snakemake(folder, hub.endpoint)
        assert not hub.requests
        assert not chat.asked


def test_a_second_build_in_one_folder_is_refused(folder):
    write_study(folder, "codesearchnet", "csne", neighbours=2)
    with mirror(SEARCHNET_FILES, SEARCHNET) as hub:
        first = begin(folder, hub.endpoint)
        locks = folder / ".snakemake/locks"
        while first.poll() is None and not (locks.is_dir() and any(locks.iterdir())):
            time.sleep(0.05)
        second = begin(folder, hub.endpoint)
        refused, _ = second.communicate()
        assert (second.returncode, "cannot be locked" in refused) == (1, True), refused[-3000:]
        said, _ = first.communicate()
        assert first.returncode == 0, said[-6000:]
    assert (folder / "results/datasets/csne/cases.parquet").exists()


@pytest.mark.parametrize("task", ["cnle", "csne"])
def test_the_authors_archive_from_a_mirror(folder, task):
    files = corpora.archive()
    listed = [
        {"key": name, "checksum": "md5:" + hashlib.md5(content).hexdigest()}
        for name, content in files.items()
    ]
    served = {f"/api/records/99/files/{name}/content": content for name, content in files.items()}
    record = {f"/api/records/{RECORD}": json.dumps({"id": 99, "files": listed}).encode()}
    with FileServer({**record, **served}) as server:
        write_study(folder, "released", task, server.address)
        snakemake(folder, "http://127.0.0.1:9")
    results = folder / "results/datasets" / task
    cases = read_parquet(results / "cases.parquet", schema=CASES)
    assert sorted(cases["case_id"]) == [f"{task}-{number}" for number in range(6)]
    unedited = read_parquet(results / "unedited.parquet", schema=UNEDITED)
    assert set(unedited["case_id"]) == set(cases["case_id"])
    assert json.loads((results / "stages.json").read_text()) == {"extract": 6, "cases": 6}
    assert "the authors' own cases" in (results / "README.md").read_text()
    assert lock(folder)[f"zenodo:{RECORD}"]["revision"] == "99"
