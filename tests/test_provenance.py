import importlib
import platform
import sys

import pytest

import clme
from clme import provenance
from clme.editors import registry
from clme.provenance import processor, source_hash, versions


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of its own in place of `clme`: job -> engine -> maths; other stands alone."""
    files = {
        "__init__": "",
        "maths": "def double(x):\n    return 2 * x\n",
        "engine": "from toy.maths import double\n\ndef run():\n    import toy.late\n",
        "late": "VALUE = 1\n",
        "job": "import json\nfrom toy import engine\n",
        "other": "VALUE = 2\n",
        "ring": "import toy.round\n",
        "round": "import toy.ring\n",
    }
    folder = tmp_path / "toy"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provenance, "clme", importlib.import_module("toy"))
    provenance._source_file.cache_clear()
    yield folder
    provenance._source_file.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "toy"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["job", "engine", "maths", "late"])
def test_the_hash_changes_with_all_that_is_imported(package, name):
    before = source_hash("toy.job")
    assert before == source_hash("toy.job")
    (package / f"{name}.py").write_text((package / f"{name}.py").read_text() + "# changed\n")
    assert source_hash("toy.job") != before


def test_the_hash_does_not_change_with_what_is_not_imported(package):
    before = source_hash("toy.job")
    (package / "other.py").write_text("VALUE = 3\n")
    assert source_hash("toy.job") == before
    assert source_hash("toy.job", "toy.other") != before
    assert source_hash("toy.other", "toy.job") == source_hash("toy.job", "toy.other")


def test_modules_that_import_each_other(package):
    del package
    assert source_hash("toy.ring") == source_hash("toy.round")


def test_of_a_function_counts_what_it_uses(package):
    (package / "commands.py").write_text(
        "import json\nfrom toy import other\n\nLIMIT = 3\n\n"
        "def helper():\n    from toy import maths\n    return LIMIT\n\n"
        "def used():\n    return helper()\n\n"
        "def unused():\n    from toy import engine\n    return other\n"
    )
    before = source_hash("toy.commands:used")
    for name in ("other", "engine", "late"):
        (package / f"{name}.py").write_text((package / f"{name}.py").read_text() + "# changed\n")
        assert source_hash("toy.commands:used") == before
    assert imported("toy.commands:used") == {"toy.commands:used", "toy", "toy.maths"}
    text = (package / "commands.py").read_text()
    for old, new in (
        ("return other", "return 7"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("helper()\n", "helper() + 1\n"),
    ):
        (package / "commands.py").write_text(text.replace(old, new))
        assert (source_hash("toy.commands:used") == before) == ("other" in old)
    (package / "commands.py").write_text(text)
    (package / "maths.py").write_text("# changed\n")
    assert source_hash("toy.commands:used") != before


def test_an_unknown_module_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"clme\.nowhere"):
        source_hash("clme.nowhere")
    with pytest.raises(ModuleNotFoundError, match=r"nowhere\.at_all"):
        source_hash("nowhere.at_all")


def imported(*modules):
    """The names that go into the hash of some modules."""
    found, waiting = set(), list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += provenance._scanned(name)[1]
    return found


def test_an_editors_results_depend_on_the_engine_and_on_no_other_editor():
    names = imported("clme.study.edit_job", registry.module("grace"))
    assert {
        "clme.models.decoder",
        "clme.edits",
        "clme.evaluation.metrics",
        "clme.evaluation.sampling",
        "clme.editors.losses",
        "clme.randomness",
    } <= names
    assert not {"clme.editors.ft_l", "clme.study.aggregate", "clme.cli"} & names
    assert not any(name.startswith(("clme.publish", "clme.commands")) for name in names)


def test_versions_name_what_numbers_depend_on():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["clme"] == clme.__version__
    assert {"torch", "transformers", "sacrebleu", "numpy"} <= set(found)


def test_the_processor_has_a_name():
    assert processor().strip()
