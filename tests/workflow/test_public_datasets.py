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
from types import SimpleNamespace

import pytest
import yaml

import corpora
import tiny
from chat_server import Chat
from clme.datasets import renaming
from clme.datasets.cases import TEMPLATES
from clme.datasets.codesearchnet import REPOSITORY as SEARCHNET
from clme.datasets.conala import REPOSITORY as CONALA
from clme.datasets.masked import MaskedModel
from clme.datasets.released import RECORD
from clme.datasets.schema import CASES, UNEDITED
from clme.files import read_parquet
from file_server import FileServer
from hub_server import COMMIT, Hub
from workflows import planned

LABELLED = 100
ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"
CONALA_FILES = {"data/train-0.parquet": corpora.conala(30)}
SEARCHNET_FILES = {
    "python/train-0.parquet": corpora.parquet(corpora.searchnet_rows(range(8), "train")),
    "python/test-0.parquet": corpora.parquet(corpora.searchnet_rows(range(50, 54), "test")),
}


def prepare(folder):
    """Make a working directory with the workflow's files, with an empty lock, and the study's models."""
    for name in ("Snakefile", "workflow", "envs", "paper/published"):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "clme"))
        else:
            shutil.copyfile(source, target)
    (folder / "workflow/locks/hub.json").write_text("{}\n")
    tiny.build_encoder(folder / "models/encoder")
    tiny.build_masked_model(folder / "models/masked")
    return folder


def write_study(folder, source, *tasks, zenodo="https://zenodo.org", services=(), **changes):
    content = {
        "study": "public",
        "editors": ["none"],
        "mirrors": {"zenodo": zenodo},
        "services": dict(services),
        "encoders": {name: {"source": f"path:models/{name}"} for name in ("encoder", "masked")},
        "datasets": {
            task: {"task": task, "source": source, "encoder": "encoder", **changes} for task in tasks
        },
        "models": {"tiny-llama": {"source": "path:models/llama"}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))


def begin(folder, endpoint, *arguments):
    command = [sys.executable, "-m", "snakemake", "datasets", "--configfile", "study.yaml"]
    command += ["--nocolor", "--cores", "1", *arguments]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_ENDPOINT": endpoint}
    together = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **together)


def snakemake(folder, endpoint, *arguments):
    process = begin(folder, endpoint, *arguments)
    said, _ = process.communicate()
    assert process.returncode == 0, said[-6000:]
    return said


def without(file, folder):
    """The jobs that are planned when one file is missing."""
    aside = (folder / file).rename(folder / "aside")
    try:
        return planned(snakemake(folder, NOWHERE, "--dry-run"))
    finally:
        aside.rename(folder / file)


def lock(folder):
    return json.loads((folder / "workflow/locks/hub.json").read_text())


@contextlib.contextmanager
def mirror(files, repository):
    name, _, revision = repository.partition("@")
    with Hub(files, name, "datasets") as hub:
        hub.revisions.add(revision)
        yield hub


def jobs(*rules):
    return dict.fromkeys((*rules, "datasets"), 1)


# CoNaLa, graded and rewritten by a service --------------------------------------------------------


def answer(text):
    return "Very Relevant" if "these levels" in text else "put into order " + text.split()[-1]


@pytest.fixture(scope="module")
def conala(tmp_path_factory):
    """The folder where CNLE was built, and what had been asked of the servers by then."""
    folder = prepare(tmp_path_factory.mktemp("conala"))
    with Chat(answer) as chat, mirror(CONALA_FILES, CONALA) as hub:
        services = {"chat": {"base_url": chat.base_url, "model": "the server's"}}
        used = {"grader": "chat", "rewriter": "chat", "neighbours": 2}
        write_study(folder, "conala", "cnle", services=services, **used)
        snakemake(folder, hub.endpoint)
        yield SimpleNamespace(folder=folder, chat=chat, hub=hub, asked=len(chat.asked))


def test_cnle_is_built_from_a_mirror_of_the_hub(conala):
    results = conala.folder / "results/datasets/cnle"
    cases = read_parquet(results / "cases.parquet", schema=CASES)
    assert len(cases) == 30 / 6
    assert cases["neighbours"].map(len).eq(2).all()
    assert lock(conala.folder)[f"datasets/{CONALA}"]["revision"] == COMMIT
    card = (results / "README.md").read_text()
    assert all(name in card for name in [*CONALA_FILES, "service chat"])
    assert conala.asked == LABELLED + 30 + len(cases)


LATER = ("deduplicate", "split", "embed", "rephrase", "neighbours", "cases")


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("extract.parquet", ("extract", "filter_pairs", "grade", *LATER)),
        ("grade.parquet", ("grade", *LATER)),
        ("embeddings.npy", ("embed", "neighbours", "cases")),
    ],
)
def test_a_missing_file_of_cnle_reruns_its_stage_and_what_follows(conala, file, rules):
    assert without(f"results/datasets/cnle/stages/{file}", conala.folder) == jobs(*rules)


def test_a_stage_that_is_run_again_asks_no_service_and_gives_the_same(conala):
    results = conala.folder / "results/datasets/cnle"
    cases = read_parquet(results / "cases.parquet", schema=CASES)
    conala.hub.requests.clear()
    conala.chat.asked.clear()
    (results / "stages/rephrase.parquet").unlink()
    said = snakemake(conala.folder, conala.hub.endpoint)
    assert planned(said) == jobs("rephrase", "neighbours", "cases")
    assert read_parquet(results / "cases.parquet", schema=CASES).equals(cases)
    assert "Nothing to be done" in snakemake(conala.folder, conala.hub.endpoint)
    assert not conala.hub.requests
    assert not conala.chat.asked


# CodeSearchNet, renamed by a masked model ---------------------------------------------------------


@pytest.fixture(scope="module")
def searchnet(tmp_path_factory):
    """The folder where CSNE was built."""
    folder = prepare(tmp_path_factory.mktemp("searchnet"))
    with mirror(SEARCHNET_FILES, SEARCHNET) as hub:
        write_study(folder, "codesearchnet", "csne", masked_model="masked", neighbours=2)
        snakemake(folder, hub.endpoint)
    return folder


def test_csne_is_built_from_a_mirror_of_the_hub(searchnet):
    results = searchnet / "results/datasets/csne"
    cases = read_parquet(results / "cases.parquet", schema=CASES)
    assert len(cases) > 0
    assert cases["neighbours"].map(len).eq(2).all()
    assert lock(searchnet)[f"datasets/{SEARCHNET}"]["revision"] == COMMIT
    card = (results / "README.md").read_text()
    assert all(name in card for name in [*SEARCHNET_FILES, "a masked language model (masked)"])
    assert "Nothing to be done" in snakemake(searchnet, NOWHERE)


def test_new_names_are_the_masked_models(searchnet):
    model = MaskedModel(searchnet / "results/encoders/masked")
    cases = read_parquet(searchnet / "results/datasets/csne/cases.parquet", schema=CASES)
    start, end = TEMPLATES["csne"].split("{text}")
    for prompt, rephrase in zip(cases["prompt"], cases["rephrase"], strict=True):
        before, after = (text.removeprefix(start).removesuffix(end) for text in (prompt, rephrase))
        old, new = renaming.renameable(before), renaming.renameable(after)
        mapping = dict(zip(old, new, strict=True))
        assert renaming.same_program(before, after, mapping)
        candidates = model.candidates(before, old)
        changed = {name: given for name, given in mapping.items() if name != given}
        assert changed
        assert all(given in candidates[name] for name, given in changed.items())


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("filter.parquet", ("filter_pairs", *LATER)),
        ("rephrase.parquet", ("rephrase", "neighbours", "cases")),
        ("neighbours.parquet", ("neighbours", "cases")),
    ],
)
def test_a_missing_file_of_csne_reruns_its_stage_and_what_follows(searchnet, file, rules):
    assert without(f"results/datasets/csne/stages/{file}", searchnet) == jobs(*rules)


def test_a_second_build_in_one_folder_is_refused(searchnet):
    write_study(searchnet, "codesearchnet", "csne", neighbours=3)
    first = begin(searchnet, NOWHERE)
    locks = searchnet / ".snakemake/locks"
    while first.poll() is None and not (locks.is_dir() and any(locks.iterdir())):
        time.sleep(0.05)
    second = begin(searchnet, NOWHERE)
    refused, _ = second.communicate()
    assert (second.returncode, "cannot be locked" in refused) == (1, True), refused[-3000:]
    said, _ = first.communicate()
    assert first.returncode == 0, said[-6000:]
    cases = read_parquet(searchnet / "results/datasets/csne/cases.parquet", schema=CASES)
    assert cases["neighbours"].map(len).eq(3).all()


# The authors' archive -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The folder where the archive's datasets were read."""
    folder, files = prepare(tmp_path_factory.mktemp("archive")), corpora.archive()
    listed = [
        {"key": name, "checksum": "md5:" + hashlib.md5(content).hexdigest()}
        for name, content in files.items()
    ]
    served = {f"/api/records/99/files/{name}/content": content for name, content in files.items()}
    record = {f"/api/records/{RECORD}": json.dumps({"id": 99, "files": listed}).encode()}
    with FileServer({**record, **served}) as server:
        write_study(folder, "released", "cnle", "csne", zenodo=server.address)
        snakemake(folder, NOWHERE)
    return folder


@pytest.mark.parametrize("task", ["cnle", "csne"])
def test_the_authors_archive_from_a_mirror(archive, task):
    results = archive / "results/datasets" / task
    cases = read_parquet(results / "cases.parquet", schema=CASES)
    assert sorted(cases["case_id"]) == [f"{task}-{number}" for number in range(6)]
    unedited = read_parquet(results / "unedited.parquet", schema=UNEDITED)
    assert set(unedited["case_id"]) == set(cases["case_id"])
    assert json.loads((results / "stages.json").read_text()) == {"extract": 6, "cases": 6}
    assert "the authors' own cases" in (results / "README.md").read_text()
    assert lock(archive)[f"zenodo:{RECORD}"]["revision"] == "99"


def test_the_archive_is_read_once(archive):
    assert without("results/datasets/csne/cases.parquet", archive) == jobs("released")
    assert "Nothing to be done" in snakemake(archive, NOWHERE)
