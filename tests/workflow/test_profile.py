"""The profile behind `snakemake --profile slurm`, on a machine that needs no SLURM."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from configargparse import ConfigFileParserException
from snakemake.profiles import ProfileConfigFileParser

from clme.editors import registry
from workflows import ROOT, planned

NO_NETWORK = {
    "HF_HUB_OFFLINE": "1",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """The working directory: a clone, as far as the profile is concerned, without SLURM's commands."""
    for name in ("Snakefile", "workflow", "paper", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "slurm").mkdir()
    shutil.copyfile(ROOT / "slurm/config.yaml", tmp_path / "slurm/config.yaml")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/which").symlink_to(shutil.which("which"))  # what the plugin looks for commands with
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}")
    return tmp_path


def site(clone, **settings):
    (clone / "slurm/site.yaml").write_text(yaml.safe_dump(settings))


def command(clone, name, script):
    path = clone / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def profile():
    with Path("slurm/config.yaml").open() as stream:
        return ProfileConfigFileParser().parse(stream)


def dry_run(folder, *arguments):
    run = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n", "--nocolor", *arguments]
    environment = {**os.environ, **NO_NETWORK}
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def asked(said, rule):
    """What the jobs of a rule ask for, in a dry run's words."""
    found = re.findall(rf"^rule {rule}:\n.*?^    resources: (.*?)$", said, re.M | re.S)
    return [dict(part.split("=") for part in line.split(", ")) for line in found]


def test_the_full_study_is_planned_without_slurm_and_network(clone):
    site(clone, account="project", cpu="thin", gpu="all", gpu_model="a100")
    code, said = dry_run(clone)
    assert code == 0, said[-3000:]
    jobs = planned(said)
    assert jobs["edit"] == 3 * len(registry.names()) * 2 * 2
    assert "hours of one NVIDIA A100" in said
    edits, stages = asked(said, "edit"), asked(said, "extract")
    assert len(edits) == jobs["edit"]
    for one in edits:
        assert (one["gpu"], one["gpu_model"]) == ("1", "a100")
        assert one["slurm_partition"] == "all", "a name that Python knows, too"
        assert int(one["mem_mb"]) > 11_000, "three billion weights in four bytes each"
    for one in stages:
        assert one["slurm_partition"] == "thin"
        assert one["slurm_account"] == "project"
        assert "gpu" not in one


def test_jobs_that_outlast_the_partition_are_divided(clone):
    site(clone, gpu="gpu", hours=24)
    code, said = dry_run(clone, "results/edits/codeqwen-7b/csne/pmet/fold0.parquet")
    assert code == 0, said[-3000:]
    jobs = planned(said)
    assert jobs["merge"] == jobs["merge_prepared"] == 1
    assert jobs["vectors_shard"] > 70 / (24 / 2), "what PMET writes is sought for more than 70 hours"
    assert jobs["edit_shard"] == 2, "and written and evaluated in more than 12"
    for one in asked(said, "vectors_shard") + asked(said, "edit_shard"):
        assert int(one["runtime"]) <= 24 * 60
        assert one["slurm_partition"] == "gpu"


def test_what_a_site_leaves_out_is_the_clusters_default(clone):
    code, said = dry_run(clone, "results/edits/stablecode-3b/cnle/none/fold0.parquet")
    assert code == 0, said[-3000:]
    (edit,) = asked(said, "edit")
    assert edit["gpu"] == "1"
    assert not {"slurm_partition", "slurm_account", "gpu_model"} & edit.keys()


def test_every_rule_that_runs_a_language_model_is_on_the_gpu_partition(clone):
    site(clone, gpu="fast")
    on_gpu = {
        one.split(":")[0] for one in profile()["set-resources"] if one.endswith("slurm_partition='fast'")
    }
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    expected = set(re.findall(r"^rule (\w+):\n(?:(?!^rule ).*\n)*?.*gpu=RESOURCES", rules, re.M))
    derived = re.findall(r"^ *use rule (\w+) as (\w+)", rules, re.M)
    assert on_gpu == expected | {name for base, name in derived if base in expected}


def test_an_unknown_key_of_the_site_is_named(clone):
    site(clone, partition="gpu")
    with pytest.raises(
        ConfigFileParserException,
        match="unknown key partition; allowed are account, cpu, gpu, gpu_model, hours",
    ):
        profile()


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("echo 'AccountingStorageType   = accounting_storage/slurmdbd'", "sacct"),
        ("echo 'AccountingStorageType   = accounting_storage/none'", "squeue"),
        ("echo 'AccountingStorageType   = (null)'", "squeue"),
        ("exit 1", "squeue"),
    ],
)
def test_sacct_is_asked_only_where_there_is_a_database(clone, script, status):
    command(clone, "scontrol", script)
    assert profile()["slurm-status-command"] == status


@pytest.mark.usefixtures("clone")
def test_a_controller_that_does_not_answer_is_not_waited_for(monkeypatch):
    def hangs(*arguments, timeout, **_):
        raise subprocess.TimeoutExpired(arguments, timeout)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert profile()["slurm-status-command"] == "squeue"


def test_neither_rules_nor_package_name_slurm():
    """But for the one file that asks batch systems, by their variables, how long a job may still run."""
    files = [
        ROOT / "Snakefile",
        *(ROOT / "workflow/rules").glob("*.smk"),
        *(path for path in (ROOT / "workflow/clme").rglob("*.py") if path.name != "allocation.py"),
    ]
    assert [path.name for path in files if re.search("slurm|sbatch", path.read_text(), re.I)] == []
