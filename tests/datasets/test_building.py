"""All stages by their commands, in one process, on small files in the public layouts."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

import corpora
import tiny
from chat_server import Chat
from clme.cli import group
from clme.datasets.schema import CASES, PAIRS
from clme.errors import UserError
from clme.files import read_parquet

LABELLED = 100
SEARCHNET_SETTINGS = {"task": "csne", "source": "codesearchnet", "encoder": "tiny"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tiny.build_encoder(root / "encoder")
    tiny.build_masked_model(root / "masked")
    return root


def run(*arguments):
    group.main(["dataset", *map(str, arguments)], standalone_mode=False)


def build(folder, models, task, source, *, service=(), rephrase=(), **changes):
    stages = folder / "stages"
    settings = json.dumps({"task": task, "source": source, "encoder": "tiny", "neighbours": 2, **changes})
    about = ["--name", task, "--settings", settings]
    encoder = ["--encoder", models / "encoder"]
    run("extract", folder / "corpus", *about, "--output", stages / "extract.parquet")
    run("filter", stages / "extract.parquet", *about[2:], *encoder, "--output", stages / "filter.parquet")
    last = "filter"
    if task == "cnle":
        run("grade", stages / "filter.parquet", *service, *encoder, "--output", stages / "grade.parquet")
        last = "grade"
    run("deduplicate", stages / f"{last}.parquet", "--output", stages / "deduplicate.parquet")
    run("split", stages / "deduplicate.parquet", *about, "--output", stages / "split.parquet")
    run(
        "embed", stages / "split.parquet", *encoder, "--pooling", "cls", "--output", stages / "embeddings.npy"
    )
    options = [*about, *service, *rephrase, *encoder]
    run("rephrase", stages / "split.parquet", *options, "--output", stages / "rephrase.parquet")
    inputs = [stages / "split.parquet", stages / "rephrase.parquet", stages / "embeddings.npy"]
    run("neighbours", *inputs, *about[2:], "--output", stages / "neighbours.parquet")
    published = tiny_table(folder)
    run("cases", stages, *about, *encoder, "--published", published, "--output", folder / "cases.parquet")
    return read_parquet(folder / "cases.parquet", schema=CASES)


def tiny_table(folder):
    roles = ("effectiveness_input", "generalization_input", "specificity_input", "edit_target")
    lines = [f"{role},{name},1,1,1" for role in roles for name in ("CNLE", "CSNE")]
    (folder / "table3.csv").write_text("\n".join(["role,dataset,mean,median,count", *lines]) + "\n")
    return folder / "table3.csv"


def test_conala_with_a_service(tmp_path, models):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.parquet").write_bytes(corpora.conala(30))
    levels = ["Very Relevant", "Neutral", "Very Relevant"]

    def answer(text):
        if "Answer with exactly one of these levels" in text:
            ours = "values.sort(key=lambda item: item[" in text
            return levels[int(text.split("item[")[1].split("]")[0]) % 3] if ours else levels[0]
        return "put into order " + text.strip().rsplit(" ", 1)[1]

    with Chat(answer) as chat:
        service = ["--service", json.dumps({"base_url": chat.base_url, "model": "m"})]
        service += ["--cache", tmp_path / "answers.sqlite"]
        named = {"grader": "chat", "rewriter": "chat"}
        cases = build(tmp_path, models, "cnle", "conala", service=service, **named)
        asked = len(chat.asked)
        run(
            "grade", tmp_path / "stages/filter.parquet", *service, "--dry-run",
            "--encoder", models / "encoder", "--output", tmp_path / "never.parquet",
        )  # fmt: skip
        assert len(chat.asked) == asked == LABELLED + 30 + 3
    assert not (tmp_path / "never.parquet").exists()
    assert len(cases) == round(20 / 6)
    assert cases["rephrase"].str.startswith("Intent: put into order ").all()
    told = json.loads((tmp_path / "stages.json").read_text())
    assert (told["extract"], told["filter"], told["grade"]) == (30, 30, 20)
    statistics = json.loads((tmp_path / "statistics.json").read_text())
    assert statistics["grades"]["Neutral"] == 10
    assert (statistics["agreement"]["pairs"], statistics["agreement"]["kept"]) == (LABELLED, LABELLED)
    assert {row["role"] for row in statistics["lengths"]} >= {"edit_target", "specificity_input"}
    card = (tmp_path / "README.md").read_text()
    assert "a.parquet" in card
    assert "graded by a language model" in card
    assert "rewritten by a lexicon" not in card


def test_codesearchnet_with_a_masked_model(tmp_path, models):
    (tmp_path / "corpus" / "python").mkdir(parents=True)
    for split, numbers in {"train": range(8), "test": range(50, 54)}.items():
        content = corpora.parquet(corpora.searchnet_rows(numbers, split))
        (tmp_path / "corpus" / "python" / f"{split}-0.parquet").write_bytes(content)
    cases = build(tmp_path, models, "csne", "codesearchnet", rephrase=["--masked-model", models / "masked"])
    assert 0 < len(cases) <= 4
    assert (cases["prompt"] != cases["rephrase"]).all()
    assert cases["origin"].str.startswith("https://example.org/5").all()
    near = {int(text.split("collect_")[1].split("(")[0]) for texts in cases["neighbours"] for text in texts}
    assert near <= set(range(8)), "neighbours are never of the test split"


def test_the_archive(tmp_path, models):
    for name, content in corpora.archive().items():
        (tmp_path / name).write_bytes(content)
    settings = json.dumps({"task": "cnle", "source": "released", "encoder": "tiny"})
    output = tmp_path / "out" / "cases.parquet"
    run(
        "released", tmp_path, "--name", "cnle", "--settings", settings, "--encoder", models / "encoder",
        "--published", tiny_table(tmp_path), "--output", output,
    )  # fmt: skip
    assert len(read_parquet(output, schema=CASES)) == 6
    assert json.loads((output.parent / "stages.json").read_text()) == {"extract": 6, "cases": 6}
    assert "authors' own cases" in (output.parent / "README.md").read_text()


# Bad input -----------------------------------------------------------------------------------------


def searchnet(folder, **rows):
    (folder / "corpus").mkdir()
    for split, content in rows.items():
        (folder / f"corpus/{split}.parquet").write_bytes(corpora.parquet(content))


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (1, 0, "0 targeted and 1 non-targeted pairs are left; at least 1 and 5 are needed"),
        (0, 1, "1 targeted and 0 non-targeted pairs are left"),
        (4, 2, "2 targeted and 4 non-targeted pairs are left"),
    ],
)
def test_a_source_of_too_few_rows(tmp_path, models, train, test, said):
    rows = {
        "train": corpora.searchnet_rows(range(train), "train"),
        "test": corpora.searchnet_rows(range(50, 50 + test), "test"),
    }
    searchnet(tmp_path, **{split: content for split, content in rows.items() if content})
    with pytest.raises(UserError, match=rf"datasets\.csne: {said}") as error:
        build(tmp_path, models, "csne", "codesearchnet", neighbours=5)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cases.parquet").exists()


def test_functions_that_do_not_parse_and_functions_of_a_docstring_only(tmp_path, models):
    rows = corpora.searchnet_rows(range(50, 54), "test")
    rows[0]["whole_func_string"] = "def f(items:\n    return items"
    rows[1]["whole_func_string"] = 'def f(items):\n    """Return the items, up to a limit."""\n'
    rows[2]["whole_func_string"] = 'def f(items): """Return the items, up to a limit."""\n'
    for kept in (True, False):
        folder = tmp_path / str(kept)
        folder.mkdir()
        searchnet(folder, train=corpora.searchnet_rows(range(8), "train"), test=rows)
        cases = build(folder, models, "csne", "codesearchnet", docstring_in_code=kept)
        told = json.loads((folder / "stages.json").read_text())
        assert told["extract"] - told["filter"] == (1 if kept else 3)
        origins = set(cases["origin"])
        assert "https://example.org/53" in origins
        assert "https://example.org/50" not in origins


def test_a_full_disk_leaves_nothing_behind(tmp_path, models, monkeypatch):
    searchnet(tmp_path, train=corpora.searchnet_rows(range(8), "train"))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"extract\.parquet: can't be written \(No space left on device\)"):
        build(tmp_path, models, "csne", "codesearchnet")
    assert list((tmp_path / "stages").iterdir()) == []


def test_two_builds_at_once_in_one_folder(tmp_path):
    """Snakemake allows one; by hand both may run, and no file is ever half of one and half of the other."""
    searchnet(tmp_path, train=corpora.searchnet_rows(range(8), "train"))
    about = ["--name", "csne", "--settings", json.dumps(SEARCHNET_SETTINGS)]
    output = tmp_path / "stages" / "extract.parquet"
    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit(run, "extract", tmp_path / "corpus", *about, "--output", output) for _ in range(20)
        ]:
            done.result()
            assert len(read_parquet(output, schema=PAIRS)) == 8
    assert list(output.parent.iterdir()) == [output]
