"""Conda environments and container images hold what the lock pins."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
RECIPES = [ROOT / "envs/Containerfile", ROOT / "envs/clme.def"]


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


@pytest.mark.parametrize("name", ["model", "data"])
def test_torch_is_the_build_with_cuda(name):
    """The index's own wheel for Linux has CUDA; builds without it have a version or an index of their own."""
    text = (ROOT / f"envs/{name}.yaml").read_text(encoding="utf-8")
    assert re.search(rf"^ *- torch=={re.escape(LOCK['torch'])}$", text, re.M)
    assert "+" not in LOCK["torch"]
    assert "index-url" not in text


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_an_image_is_built_from_the_lock(path):
    text = path.read_text(encoding="utf-8")
    installed = re.findall(r"pip install (.*)", text)
    assert [line for line in installed if "--no-deps" not in line] == [
        "--no-cache-dir --requirement /clme/requirements.lock"
    ]
    copied = re.findall(r"^(?:COPY|   ) ([\w. ]+?) /clme/[\w.]*$", text, re.M)
    sources = {name for names in copied for name in names.split()}
    assert sources == {"requirements.lock", "pyproject.toml", "README.md", "workflow"}
    assert all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_an_image_has_the_environments_python_and_the_papers_latex(path):
    text = path.read_text(encoding="utf-8")
    assert "python:3.11-" in text
    assert all("python=3.11" in one.read_text(encoding="utf-8") for one in ENVIRONMENTS)
    (packages,) = re.findall(r"^LATEX := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert packages in text
