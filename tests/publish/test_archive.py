"""Archives of results: whole, checked, equal; and exhibits from one without torch."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import synthetic

from clme.errors import UserError
from clme.publish import archive
from clme.publish.results import Results

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "tokenizers", "safetensors", "accelerate", "nvidia", "triton", "clme")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.write(tmp_path_factory.mktemp("results"), cases=4), synthetic.PUBLISHED)


@pytest.fixture(scope="module")
def packed(results, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "archive.zip"
    archive.pack(results, path)
    return path


def rewritten(packed, path, change):
    """Write an archive anew with changed content: `change` maps a name and its bytes to bytes or None."""
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


def test_equal_results_give_equal_archives(results, packed, tmp_path):
    archive.pack(results, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_the_crate_describes_every_file(packed):
    with zipfile.ZipFile(packed) as stored:
        crate = json.loads(stored.read(archive.CRATE))
        names = set(stored.namelist()) - {archive.CRATE, archive.CHECKSUMS}
        checksums = dict(
            line.split("  ")[::-1] for line in stored.read(archive.CHECKSUMS).decode().splitlines()
        )
    files = {entity["@id"]: entity for entity in crate["@graph"] if entity["@type"] == "File"}
    assert set(files) == names == set(checksums)
    assert all(files[name]["sha256"] == checksums[name] for name in names)
    (root,) = (entity for entity in crate["@graph"] if entity["@id"] == "./")
    assert {part["@id"] for part in root["hasPart"]} == names
    assert {"name", "description", "datePublished", "license"} <= set(root)


def test_what_is_unpacked_is_what_was_packed(results, packed, tmp_path):
    names = archive.unpack(packed, tmp_path)
    assert "metrics.parquet" in names
    for name in names:
        assert (tmp_path / name).read_bytes() == (results.folder / name).read_bytes()


def test_a_damaged_file_is_named_and_nothing_is_written(packed, tmp_path):
    bad = rewritten(
        packed, tmp_path / "bad.zip", lambda name, old: old + b"x" if name == "study.json" else old
    )
    with pytest.raises(UserError, match=r"study\.json is damaged"):
        archive.unpack(bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_a_missing_list_are_named(packed, tmp_path):
    less = rewritten(packed, tmp_path / "less.zip", lambda name, old: None if name == "study.json" else old)
    with pytest.raises(UserError, match=r"study\.json is in the list or in the archive"):
        archive.unpack(less, tmp_path / "out")
    bare = rewritten(
        packed, tmp_path / "bare.zip", lambda name, old: None if name == archive.CHECKSUMS else old
    )
    with pytest.raises(UserError, match="lacks checksums"):
        archive.unpack(bare, tmp_path / "out")


def test_paths_that_lead_out_and_files_that_are_no_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as stored:
        stored.writestr("../evil", b"")
        stored.writestr(archive.CHECKSUMS, f"{'0' * 64}  ../evil\n")
    with pytest.raises(UserError, match="leads out of the folder"):
        archive.unpack(tmp_path / "out.zip", tmp_path / "out")
    (tmp_path / "no.zip").write_text("no")
    with pytest.raises(UserError, match="not a readable archive"):
        archive.unpack(tmp_path / "no.zip", tmp_path / "out")


def test_another_studys_results_are_not_written_over(packed, tmp_path):
    archive.unpack(packed, tmp_path)
    archive.unpack(packed, tmp_path)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(UserError, match="holds another study's results"):
        archive.unpack(packed, tmp_path)
    assert (tmp_path / "study.json").read_text() == "{}"


def test_an_incomplete_run_is_not_packed(tmp_path):
    folder = synthetic.write(tmp_path / "results", cases=2)
    (folder / "strata.parquet").unlink()
    with pytest.raises(UserError, match=r"strata\.parquet: no such file"):
        archive.pack(Results(folder, synthetic.PUBLISHED), tmp_path / "a.zip")


@pytest.fixture(scope="module")
def light_python(tmp_path_factory):
    """A virtual environment with all packages but those that edit models."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder, with_pip=False, symlinks=True)
    ours = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for place in map(Path, sys.path):
        if place.name != "site-packages":
            continue
        for entry in place.iterdir():
            light = not entry.name.lower().startswith(HEAVY) and entry.suffix != ".pth"
            if light and not entry.name.startswith("__editable__") and not (ours / entry.name).exists():
                (ours / entry.name).symlink_to(entry)
    (ours / "clme").symlink_to(ROOT / "workflow/clme")
    python = folder / "bin/python"
    for heavy in HEAVY[:5]:
        assert subprocess.run([python, "-c", f"import {heavy}"], capture_output=True, check=False).returncode
    return python


def test_all_exhibits_are_made_from_an_archive_without_torch(packed, light_python, tmp_path):
    def clme(*arguments):
        command = [light_python, "-c", "from clme.cli import main; main()", *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    clme("unpack", packed, "--output", "results")
    said = clme("exhibits", "--published", synthetic.PUBLISHED)
    assert "table_4" in said
    assert (tmp_path / "results/tables/table_4.tex").exists()
    assert (tmp_path / "results/figures/figure_strata.pdf").exists()
    clme("report", "--published", synthetic.PUBLISHED, "--output", "report.html")
    clme("numbers", "--published", synthetic.PUBLISHED, "--output", "numbers.json")
