import os
import time

# Before torch is imported: tiny models gain nothing from a second thread, and waiting for one is slow
# where tests share the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

import tiny
from clme.models.manifest import write_manifest

# Whole runs of the workflow and of the benchmark take minutes each.
LONG = (
    "slurm/test_slurm.py",
    "workflow/test_smoke.py",
    "workflow/test_smoke_editors.py",
    "workflow/test_public_datasets.py",
    "workflow/test_staleness.py",
    "test_benchmark.py",
)


def pytest_collection_modifyitems(items):
    """Begin with the long ones, so that no process is left with one at the end."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Folders of tiny random models by family."""
    root = tmp_path_factory.mktemp("tiny")
    folders = {family: tiny.build(family, root / family) for family in tiny.FAMILIES}
    for folder in folders.values():
        write_manifest(folder, {})
    return folders


@pytest.fixture
def waits(monkeypatch):
    """The pauses between attempts, which are noted and not waited for."""
    found = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found
