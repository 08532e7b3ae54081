"""A SLURM for the tests of this folder, and the study that they run on it."""

import shutil
import subprocess

import pytest

import tiny
from clusters import CLUSTER, Cluster, Workdir, snakemake


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A real SLURM of two nodes on this machine."""
    found = subprocess.run([CLUSTER, "check"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no SLURM for tests: {found.stderr.strip()}; then: make test-slurm")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([CLUSTER, "start", folder], check=True)
    try:
        yield Cluster(folder)
    finally:
        subprocess.run([CLUSTER, "stop", folder], check=True)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, cluster):  # noqa: ARG001 (without SLURM nothing is to be prepared)
    """A working directory with all that edit jobs need, and the edits of a local run."""
    workdir = Workdir.create(tmp_path_factory.mktemp("prepared"))
    tiny.build_all(workdir.folder / "models")
    snakemake(workdir, "--cores", 2, *workdir.edits("local")).succeeds()
    return workdir


@pytest.fixture
def workdir(prepared, tmp_path):
    """A copy of the prepared working directory."""
    shutil.copytree(prepared.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    copy = Workdir(tmp_path)
    yield copy
    copy.abandon()
