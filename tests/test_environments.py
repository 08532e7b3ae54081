"""The conda environments of the steps pin what the lock pins."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


def pins(lines):
    """Versions by normalised name (PEP 503)."""
    found = {}
    for line in lines:
        name, exact, version = line.partition("==")
        if exact and not line.startswith("#"):
            found[re.sub(r"[-_.]+", "-", name.strip()).lower()] = version.strip()
    return found


LOCK = pins((ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines())


def test_there_are_environments():
    assert len(ENVIRONMENTS) >= 3
    assert len(LOCK) > 50


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_pins_are_those_of_the_lock(path):
    parts = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    (listed,) = [part["pip"] for part in parts if isinstance(part, dict)]
    found = pins(listed)
    assert len(found) == len(listed), "every package is pinned"
    assert {name: LOCK.get(name) for name in found} == found


def test_what_draws_figures_is_the_publishing_environment():
    """`make figures` installs the project's plain dependencies, a workflow with conda this environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = yaml.safe_load((ROOT / "envs/publish.yaml").read_text(encoding="utf-8"))["dependencies"]
    (listed,) = [part["pip"] for part in parts if isinstance(part, dict)]
    plain = {re.sub(r"[-_.]+", "-", name).lower() for name in project["dependencies"]}
    assert plain == set(pins(listed))
    assert not {"torch", "transformers", "snakemake"} & plain
