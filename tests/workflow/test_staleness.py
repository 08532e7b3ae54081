"""What a changed source makes stale, and what clones share; commands only write their files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workflows import PRESETS, ROOT, planned

# In place of `clme`: notes how it was called, and writes its outputs.
COMMAND = """#!{python}
import sys
from pathlib import Path

called, output = sys.argv[1:], Path(sys.argv[sys.argv.index("--output") + 1])
with Path("called").open("a") as log:
    log.write(" ".join(called) + "\\n")
if called[0] in ("table", "figure"):
    written = [output / f"{{called[1]}}.{{kind}}" for kind in ("tex", "html", "pdf", "svg", "png")]
elif called[0] == "model":
    written = [output / "manifest.json"]
elif called[:2] == ["dataset", "download"]:
    written = [output / "corpus"]
elif called[:2] == ["dataset", "cases"]:
    written = [output, *(output.parent / name for name in ("README.md", "stages.json", "statistics.json"))]
else:
    written = [output]
for path in written:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(called))
"""
EXHIBITS = [f"results/figures/figure_{name}.pdf" for name in (1, 3, 4, "tradeoff", "strata")]
EXHIBITS += [f"results/tables/table_{number}.tex" for number in (1, 4, 5)]


class Clone:
    """A clone with a source of its own; its study has one model and one dataset."""

    def __init__(self, folder, editors=("none", "ft_l", "grace")):
        self.folder = folder
        study = yaml.safe_load((PRESETS / "smoke.yaml").read_text())
        study["models"] = {"tiny-llama": study["models"]["tiny-llama"]}
        study |= {"datasets": {"cnle": study["datasets"]["cnle"]}, "editors": list(editors), "folds": 2}
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(ROOT / "Snakefile", folder / "Snakefile")
        for name in ("paper", "envs"):
            (folder / name).symlink_to(ROOT / name)
        (folder / "models/llama").mkdir(parents=True)
        command = folder / "bin/clme"
        command.parent.mkdir()
        command.write_text(COMMAND.format(python=sys.executable))
        command.chmod(0o755)

    def snakemake(self, *arguments, **environment):
        command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", "--cores", "2"]
        command += ["--nocolor", "--scheduler", "greedy", *arguments]
        path = (str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
        own = {"PATH": os.pathsep.join(path), "PYTHONPATH": str(self.folder / "workflow"), **environment}
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **own}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout + done.stderr

    def stale(self, *targets):
        """The rules that a dry run names, with their numbers of jobs."""
        return planned(self.snakemake("-n", "--", *targets))

    def changed(self, module):
        """Change a module's source; undone by what is returned."""
        path = self.folder / "workflow/clme" / module
        before = path.read_text()
        path.write_text(f"{before}\n# changed\n")
        return lambda: path.write_text(before)

    def called(self, command):
        """How often a command was called."""
        return sum(line.startswith(command) for line in (self.folder / "called").read_text().splitlines())


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    made = Clone(tmp_path_factory.mktemp("clone"))
    made.snakemake("--", *EXHIBITS)
    assert made.stale(*EXHIBITS) == {}
    return made


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("publish/figures/tradeoff.py", {"figure_tradeoff": 1}),
        ("study/strata.py", {"strata": 1, "figure_strata": 1}),
        ("editors/rome.py", {}),
    ],
)
def test_a_changed_source_makes_only_stale_what_it_makes(clone, module, rules):
    undo = clone.changed(module)
    try:
        assert clone.stale(*EXHIBITS) == rules
    finally:
        undo()


def test_a_changed_editor_makes_its_own_jobs_stale(clone):
    undo = clone.changed("editors/ft_l.py")
    try:
        said = clone.snakemake("-n", "--", *EXHIBITS)
    finally:
        undo()
    jobs = planned(said)
    assert jobs.pop("edit") == 2, "its folds"
    assert not {"baseline", "values", "fired", "model", "cases"} & jobs.keys()
    edited = [line.split(":")[1].strip() for line in said.splitlines() if "output: results/edits" in line]
    assert len(edited) == 2
    assert all("/ft_l/" in path for path in edited)


def test_a_changed_local_model_is_noticed(clone):
    weights = clone.folder / "models/llama/model.safetensors"
    weights.touch()
    try:
        assert clone.stale("results/models/tiny-llama/manifest.json") == {"model": 1}
    finally:
        weights.unlink()


def test_a_changed_file_of_a_local_corpus_is_noticed(clone):
    corpus = clone.folder / "corpus"
    (corpus / "part").mkdir(parents=True)
    (corpus / "part/a.json").write_text("{}")
    target = "results/datasets/cnle/stages/extract.parquet"
    local = ("--config", "datasets={cnle: {source: conala, path: corpus}}", "--rerun-triggers", "mtime")
    clone.snakemake(*local, "--forcerun", "extract", "--", target)
    assert planned(clone.snakemake(*local, "-n", "--", target)) == {}
    (corpus / "part/a.json").write_text("[]")
    assert planned(clone.snakemake(*local, "-n", "--", target)) == {"extract": 1}


def test_another_clone_takes_second_moments_from_the_cache(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    stored = {"SNAKEMAKE_OUTPUT_CACHE": str(cache)}
    options = ["--cache", "--", "results/metrics.parquet"]
    first, second, third = (Clone(tmp_path_factory.mktemp("clone"), ["memit"]) for _ in range(3))
    first.snakemake(*options, **stored)
    second.snakemake(*options, **stored)
    assert first.called("prepare moments") == 1
    assert first.called("baseline") == 1
    assert not second.called("prepare moments")
    assert not second.called("baseline")
    assert second.called("edit") == first.called("edit") == 2, "edits' time and memory are measured"
    ((one,), (other,)) = (sorted(c.folder.glob("results/moments/*/*")) for c in (first, second))
    assert one.read_bytes() == other.read_bytes()
    third.changed("editors/moments.py")
    third.snakemake(*options, **stored)
    assert third.called("prepare moments") == 1, "other code, another key"
    assert not third.called("baseline")
