import hashlib
import json
import time
import zipfile

import pyarrow as pa
import pytest
from huggingface_hub import constants

import corpora
from clme.datasets import stages
from clme.datasets.codesearchnet import REPOSITORY as SEARCHNET
from clme.datasets.conala import REPOSITORY as CONALA
from clme.datasets.released import RECORD, Released
from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Access, source
from clme.errors import UserError
from file_server import FileServer
from hub_server import COMMIT, Hub

NOT_UTF8 = pa.table({"snippet": ["x"], "intent": pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())})
NO_ROWS = pa.schema([("intent", pa.string()), ("snippet", pa.string())])


def settings(name, task, **changes):
    return DatasetSettings(task=task, source=name, encoder="tiny", **changes)


def extract(folder, name, task, **changes):
    return stages.extract(folder, "d", settings(name, task, **changes), 0)


def serve(monkeypatch, hub):
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


# CoNaLa and CodeSearchNet ----------------------------------------------------------------------


def test_conala_from_the_hub(tmp_path, monkeypatch):
    repository, _, revision = CONALA.partition("@")
    with Hub({"data/train-00000.parquet": corpora.conala(5)}, repository, "datasets") as hub:
        hub.revisions.add(revision)
        serve(monkeypatch, hub)
        source("conala").download(tmp_path / "c", Access(tmp_path / "lock.json", ""))
    entry = json.loads((tmp_path / "lock.json").read_text())[f"datasets/{CONALA}"]
    assert entry["revision"] == COMMIT
    assert set(entry["files"]) == {"data/train-00000.parquet"}
    pairs = extract(tmp_path / "c", "conala", "cnle")
    assert pairs["input"].tolist() == [f"sort a list of values by item {number}" for number in range(5)]
    assert pairs["target"][3] == "values.sort(key=lambda item: item[3])"
    assert pairs["split"].unique().tolist() == [""]
    [material] = source("conala").materials(tmp_path / "c", settings("conala", "cnle"))
    assert material.pin == "sha256 " + entry["files"]["data/train-00000.parquet"]


def test_an_intent_that_was_not_rewritten(tmp_path):
    rows = [
        {"id": "1", "intent": "how to sort?", "rewritten_intent": None, "snippet": "x.sort()"},
        {"id": "1", "intent": "how to sort?", "rewritten_intent": " ", "snippet": "sorted(x)"},
    ]
    (tmp_path / "a.parquet").write_bytes(corpora.parquet(rows))
    pairs = extract(tmp_path, "conala", "cnle")
    assert pairs["input"].tolist() == ["how to sort?"] * 2
    assert pairs["pair_id"].is_unique, "ids of the source may be there twice"


@pytest.mark.parametrize(
    "files",
    [
        {
            "python/train-0.parquet": corpora.parquet(corpora.searchnet_rows(range(8), "train")),
            "python/validation-0.parquet": corpora.parquet(corpora.searchnet_rows([8, 9], "valid")),
            "python/test-0.parquet": corpora.parquet(corpora.searchnet_rows(range(50, 54), "test")),
            "java/test-0.parquet": b"is not asked for",
        },
        {"data/python.zip": corpora.searchnet_archive(), "data/java.zip": b"is not asked for"},
    ],
)
def test_codesearchnet_from_the_hub(tmp_path, monkeypatch, files):
    with Hub(files, SEARCHNET, "datasets") as hub:
        serve(monkeypatch, hub)
        source("codesearchnet").download(tmp_path / "c", Access(tmp_path / "lock.json", ""))
    pairs = extract(tmp_path / "c", "codesearchnet", "csne")
    by_split = {split: set(frame["origin"]) for split, frame in pairs.groupby("split")}
    assert by_split == {
        "train": {f"https://example.org/{number}" for number in range(10)},
        "test": {f"https://example.org/{number}" for number in range(50, 54)},
    }
    first = pairs[pairs["origin"] == "https://example.org/51"].iloc[0]
    assert (first["input"], first["target"]) == corpora.function(51)


def test_the_original_files_in_a_folder(tmp_path):
    for split, numbers in {"train": [1, 2], "test": [3]}.items():
        folder = tmp_path / "final" / "jsonl" / split
        folder.mkdir(parents=True)
        (folder / f"python_{split}_0.jsonl.gz").write_bytes(corpora.searchnet_original(numbers, split))
    pairs = extract(tmp_path, "codesearchnet", "csne", docstring_in_code=False)
    assert pairs["split"].tolist() == ["test", "train", "train"]
    assert not pairs["input"].str.contains('"""').any()
    assert pairs["input"].str.startswith("def collect_").all()


def test_other_languages_are_passed_over(tmp_path):
    rows = corpora.searchnet_rows([1], "train") + [
        {**row, "language": "java"} for row in corpora.searchnet_rows([2], "train")
    ]
    (tmp_path / "a.parquet").write_bytes(corpora.parquet(rows))
    assert len(extract(tmp_path, "codesearchnet", "csne")) == 1


def test_a_repository_without_the_files(tmp_path, monkeypatch):
    with Hub({"x.csv": b""}, SEARCHNET, "datasets") as hub:
        serve(monkeypatch, hub)
        with pytest.raises(UserError, match=r"neither python/\*\.parquet nor python\.zip.*`path`"):
            source("codesearchnet").download(tmp_path / "c", Access(tmp_path / "lock.json", ""))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1 nonsense", "damaged"),
        ("a.parquet", corpora.parquet([{"x": 1}]), "has none of the columns"),
        ("a.jsonl", b'{"snippet": "x", "intent": "\xff\xfe"}\n', "not UTF-8"),
        ("a.parquet", corpora.table(NOT_UTF8), r"a\.parquet: not UTF-8"),
        ("a.jsonl", b'{"snippet": "x", "intent": "y"}\n{"snippet": \n', "line 2 isn't JSON"),
        ("a.jsonl", b"[1]\n", "line 1 has none of the fields"),
        ("a.jsonl.gz", b"\x1f\x8b nonsense", "damaged"),
        ("a.jsonl.gz", corpora.searchnet_original([1, 2], "train")[:-9], "damaged"),
        ("a.zip", b"PK nonsense", "damaged"),
        ("a.txt", b"", r"holds no \.parquet"),
        ("a.parquet", corpora.parquet([], NO_ROWS), "holds no pairs"),
        ("a.jsonl", b"\n", "holds no pairs"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        extract(tmp_path, "conala", "cnle")
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_rows_of_no_split(tmp_path):
    row = {"code": "def f(): pass", "docstring": "Do nothing at all."}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"which split \(train, valid, test\)"):
        extract(tmp_path, "codesearchnet", "csne")


def test_a_source_for_another_task(tmp_path):
    with pytest.raises(UserError, match=r"datasets\.d: source conala is for cnle, not for csne"):
        extract(tmp_path, "conala", "csne")


# The authors' archive ---------------------------------------------------------------------------


def zenodo(files):
    listed = [
        {"key": name, "checksum": "md5:" + hashlib.md5(content).hexdigest()}
        for name, content in files.items()
    ]
    record = json.dumps({"id": 99, "files": listed}).encode()
    served = {f"/api/records/99/files/{name}/content": content for name, content in files.items()}
    return FileServer({f"/api/records/{RECORD}": record, **served})


def read(folder, task="cnle", **changes):
    return Released().read(folder, "d", settings("released", task, **changes), 0, 2)


def test_the_archive_from_a_mirror(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with zenodo({**corpora.archive(), "notes.pdf": b"is not asked for"}) as server:
        access = Access(tmp_path / "lock.json", server.address)
        Released().download(tmp_path / "r", access)
        first = server.requests.copy()
        Released().download(tmp_path / "r", access)
        assert server.requests == first, "what is there and as recorded isn't asked for again"
        assert "/api/records/99/files/notes.pdf/content" not in first
        entry = json.loads(access.lock.read_text())[f"zenodo:{RECORD}"]
        assert entry["revision"] == "99"
        assert set(entry["files"]) == set(corpora.archive())
        server.files["/api/records/99/files/EditConala.json/content"] = b"[]"
        (tmp_path / "r" / "EditConala.json").unlink()
        with pytest.raises(UserError, match=entry["files"]["EditConala.json"]):
            Released().download(tmp_path / "r", access)
        assert not (tmp_path / "r" / "EditConala.json").exists()


@pytest.mark.parametrize("task", ["cnle", "csne"])
def test_cases_of_the_archive(tmp_path, task):
    for name, content in corpora.archive().items():
        (tmp_path / name).write_bytes(content)
    found = read(tmp_path, task)
    assert sorted(found.cases["case_id"]) == [f"d-{number}" for number in range(6)]
    assert found.cases["case_id"].tolist() != sorted(found.cases["case_id"])
    assert found.cases["fold"].tolist() == [0, 1, 0, 1, 0, 1]
    row = found.cases[found.cases["case_id"] == "d-4"].iloc[0]
    expected = corpora.case(4, task)
    given = expected["edit_request"]
    if task == "cnle":
        assert row["prompt"] == f"Intent: {given['intent']}\nCode:"
        assert row["rephrase"] == f"Intent: {given['rewritten_intent']}\nCode:"
        assert row["target"] == given["snippet"]
        assert row["neighbours"][2] == "Intent: reverse list 4 2\nCode:"
    else:
        assert row["prompt"] == f"Code: {given['code']}\nDescription:"
        assert row["rephrase"] == f"Code: {given['code_rewrite']}\nDescription:"
        assert row["target"] == given["code_doc"]
    assert len(row["neighbours"]) == 5
    answers = found.unedited.set_index(["case_id", "model"])["outputs"]
    assert answers["d-4", "CodeLlama-7b-hf"] == [f"output {near}" for near in range(5)]
    assert read(tmp_path, task).cases.equals(found.cases)
    assert len(read(tmp_path, task, limit=4).cases) == 4


def test_the_archive_in_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name, content in corpora.archive().items():
            archive.writestr(f"data/{name}", content)
    assert len(read(tmp_path).cases) == 6


def test_a_case_without_text_is_left_out_and_counted(tmp_path):
    cases = [corpora.case(number) for number in range(3)]
    cases[1]["edit_request"]["snippet"] = " "
    (tmp_path / "a.json").write_text(json.dumps(cases))
    found = read(tmp_path)
    assert (found.read, len(found.cases)) == (3, 2)


def change(path, value):
    def apply(case):
        for key in path[:-1]:
            case = case[key]
        if value is None:
            del case[path[-1]]
        else:
            case[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("case_id",), None, "case_id"),
        (("edit_request", "snippet"), None, "edit_request"),
        (("edit_request", "snippet"), 3, "edit_request"),
        (("neighborhoods", "items"), [], "items"),
        (("neighborhoods", "items"), [{"intent": "a"}] * 4, "expected 5"),
        (("neighborhoods", "items"), [{"code": "a"}] * 5, "expected 5 of the kind"),
        (("neighborhoods", "answers", "CodeLlama-7b-hf"), ["a"] * 4, "4 outputs for 5 neighbours"),
        (("neighborhoods",), "none", "neighborhoods"),
    ],
)
def test_a_bad_row_is_named(tmp_path, path, value, said):
    cases = [corpora.case(number) for number in range(3)]
    change(path, value)(cases[1])
    (tmp_path / "a.json").write_text(json.dumps(cases))
    with pytest.raises(UserError, match=rf"a\.json: 1 of 3 rows are no cases: row 1: .*{said}") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1, 2", "not JSON in UTF-8"),
        (b'["\xff"]', "not JSON in UTF-8"),
        (b"[]", "no cases of cnle"),
        (b'{"a": 1}', "no cases of cnle"),
        (json.dumps([corpora.case(1), corpora.case(1)]).encode(), "1 case ids are there more than once"),
        (json.dumps([corpora.case(1, "csne")]).encode(), "no cases of cnle"),
    ],
)
def test_an_archive_that_cannot_be_used(tmp_path, content, said):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read(tmp_path)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"[]", "is not a record of Zenodo"), (b'{"id": 1, "files": []}', "holds no files, but no .json")],
)
def test_a_record_that_cannot_be_used(tmp_path, answer, said):
    with FileServer({f"/api/records/{RECORD}": answer}) as server, pytest.raises(UserError, match=said):
        Released().download(tmp_path / "r", Access(tmp_path / "lock.json", server.address))
    assert not (tmp_path / "lock.json").exists()


def test_finished_cases_are_not_pairs(tmp_path):
    with pytest.raises(UserError, match="holds finished cases, not pairs"):
        extract(tmp_path, "released", "cnle")
