"""Each problem of a configuration is one line: the key's path, what is wrong, what is allowed."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from clme.editors import registry
from clme.errors import UserError
from clme.study.config import StudyConfig, load

ROOT = Path(__file__).parents[2]
MINIMAL = {
    "study": "small",
    "encoders": {"minilm": {"source": "path:encoder"}},
    "datasets": {"cnle": {"task": "cnle", "source": "pypi", "encoder": "minilm"}},
    "models": {"tiny": {"source": "path:models/tiny"}},
}


def changed(path, value):
    """The minimal configuration with another value at a path; None takes the key away."""
    raw = copy.deepcopy(MINIMAL)
    place = raw
    *sections, last = path.split(".")
    for section in sections:
        place = place.setdefault(section, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return raw


def problems(raw):
    with pytest.raises(UserError) as error:
        load(raw)
    first, *lines = str(error.value).split("\n  ")
    assert first == f"the configuration has {len(lines)} problem{'s' if len(lines) > 1 else ''}:"
    return lines


def test_defaults():
    config = load(MINIMAL)
    assert (config.seed, config.protocol, config.folds) == (0, "paper", 2)
    assert config.editor_names == registry.names()
    assert config.labels == {"tiny": "tiny"}
    assert load(changed("editors", ["grace", "none"])).editor_names == ["grace", "none"]
    assert load(changed("models.tiny.label", "Tiny (1M)")).labels == {"tiny": "Tiny (1M)"}


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "workflow/presets").glob("*.yaml"))], ids=str
)
def test_the_committed_studies_are_valid(path):
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "study" not in given:  # goes on top of the full study
        whole = yaml.safe_load((ROOT / "workflow/presets/paper.yaml").read_text(encoding="utf-8"))
        update_config(whole, given)
        given = whole
    config = load(given)
    assert config.datasets
    assert config.editor_names


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("sed", 1, "sed: unknown key (did you mean seed?); allowed are study, seed, protocol,"),
        ("xyz", 1, "xyz: unknown key; allowed are study,"),
        (
            "compute.batch_case",
            4,
            "compute.batch_case: unknown key (did you mean batch_cases?); allowed are device",
        ),
        ("evaluation.case", 4, "evaluation.case: unknown key (did you mean cases?); allowed are cases, skip"),
        ("training.cass", 4, "training.cass: unknown key (did you mean cases?); allowed are cases"),
        (
            "models.tiny.sourc",
            "x",
            "models.tiny.sourc: unknown key (did you mean source?); allowed are source",
        ),
        (
            "encoders.minilm.sha",
            "x",
            "encoders.minilm.sha: unknown key (did you mean sha256?); allowed are source",
        ),
        ("datasets.cnle.taks", "x", "datasets.cnle.taks: unknown key (did you mean task?); allowed are task"),
        (
            "variants.v",
            {"editor": "grace", "hyperparameter": {}},
            "variants.v.hyperparameter: unknown key (did you mean hyperparameters?); allowed are editor,",
        ),
    ],
)
def test_unknown_keys(path, value, expected):
    (line,) = problems(changed(path, value))
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", "one", "seed: Input should be a valid integer"),
        ("seed", -1, "seed: Input should be greater than or equal to 0 (is -1)"),
        ("folds", 0, "folds: Input should be greater than or equal to 1 (is 0)"),
        ("protocol", "papers", "protocol: Input should be 'paper' or 'released' (is 'papers')"),
        ("study", "a b", "study: String should match pattern"),
        ("study", None, "study: Field required"),
        ("models", None, "models: Field required"),
        ("models", {}, "models: Dictionary should have at least 1 item"),
        ("models.a b", {"source": "path:x"}, "models.a b: String should match pattern"),
        (
            "compute.dtype",
            "int8",
            "compute.dtype: Input should be 'float32', 'bfloat16' or 'float16' (is 'int8')",
        ),
        ("compute.batch_cases", "many", "compute.batch_cases: Input should be a valid integer"),
        ("evaluation.cases", 0, "evaluation.cases: Input should be greater than or equal to 1 (is 0)"),
        ("datasets.cnle.task", "nl", "datasets.cnle.task: Input should be 'cnle' or 'csne' (is 'nl')"),
        ("models.tiny.source", "llama", "models.tiny.source: expected pypi:NAME==VERSION, hub:OWNER/NAME"),
        (
            "models.tiny.source",
            "hub:llama",
            "models.tiny.source: expected pypi:NAME==VERSION, hub:OWNER/NAME",
        ),
        ("models.tiny.source", "pypi:llama", "models.tiny.source: expected pypi:NAME==VERSION"),
        (
            "models.tiny.sha256",
            "abc",
            "models.tiny.sha256: String should match pattern '^[0-9a-f]{64}$' (is 'abc')",
        ),
        (
            "models.tiny.source",
            "pypi:a==1",
            "models.tiny.sha256: missing; a pypi: source needs the wheel's checksum",
        ),
        ("models.tiny", "path:x", "models.tiny: Input should be a valid dictionary"),
        (
            "datasets.cnle.encoder",
            "bert",
            "datasets.cnle.encoder: there is no 'bert'; allowed are minilm",
        ),
        (
            "datasets.cnle.grader",
            "gpt",
            "datasets.cnle.grader: there is no 'gpt'; allowed are embedding",
        ),
    ],
)
def test_wrong_values(path, value, expected):
    (line,) = problems(changed(path, value))
    assert line.startswith(expected)


def test_an_editor_that_does_not_exist():
    known = ", ".join(registry.names())
    assert problems(changed("editors", ["none", "grce"])) == [
        f"editors.1: unknown editor 'grce' (did you mean grace?); allowed are {known}"
    ]
    assert problems(changed("models.tiny.editors.xyz", {})) == [
        f"models.tiny.editors.xyz: unknown editor 'xyz'; allowed are {known}"
    ]
    assert problems(changed("variants.v", {"editor": "grce"})) == [
        f"variants.v.editor: unknown editor 'grce' (did you mean grace?); allowed are {known}"
    ]
    assert problems(changed("editors", [])) == [f"editors: name at least one of {known}, or all"]
    assert all(line.startswith("editors: ") for line in problems(changed("editors", "grace")))


def test_a_hyperparameter_that_does_not_exist():
    allowed = ", ".join(registry.editor("grace").Config.model_fields)
    for path in ("models.tiny.editors.grace", "models.tiny.editors.grace.cnle"):
        assert problems(changed(f"{path}.layr", 3)) == [
            f"{path}.layr: unknown key (did you mean layer?); allowed are {allowed}"
        ]
    (line,) = problems(changed("models.tiny.editors.grace.layer", "last"))
    assert line.startswith("models.tiny.editors.grace.layer: Input should be a valid integer")
    (line,) = problems(changed("models.tiny.editors.grace.radius", 0))
    assert line == "models.tiny.editors.grace.radius: Input should be greater than 0 (is 0)"
    (line,) = problems(changed("variants.v", {"editor": "grace", "hyperparameters": {"radius": 0}}))
    assert line == "variants.v.hyperparameters.radius: Input should be greater than 0 (is 0)"


def test_all_problems_are_told_at_once():
    raw = changed("sed", 1)
    raw["models"]["tiny"]["source"] = "nowhere"
    del raw["datasets"]
    assert [line.split(":")[0] for line in problems(raw)] == ["datasets", "models.tiny.source", "sed"]


def test_hyperparameters_of_a_task_go_over_common_ones():
    own = {"layer": 3, "csne": {"radius": 2.0}}
    raw = changed("models.tiny.editors.grace", own)
    raw["variants"] = {"grace-4": {"editor": "grace", "hyperparameters": {"layer": 4}}}
    config = load(raw)
    assert config.hyperparameters("tiny", "grace", "cnle") == {"layer": 3}
    assert config.hyperparameters("tiny", "grace", "csne") == {"layer": 3, "radius": 2.0}
    assert config.hyperparameters("tiny", "grace-4", "csne") == {"layer": 4, "radius": 2.0}
    assert config.editor("grace-4") == "grace"
    assert config.editor_names[-1] == "grace-4"
    assert problems(changed("variants.none", {"editor": "grace"})) == [
        "variants.none: is the name of an editor; take another"
    ]


def test_the_committed_schema_is_the_configurations():
    committed = ROOT / "workflow/schemas/config.schema.json"
    command = [Path(sys.executable).with_name("clme"), "schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout
    assert json.loads(printed) == StudyConfig.model_json_schema()
    assert committed.read_text(encoding="utf-8") == printed, (
        "run: clme schema > workflow/schemas/config.schema.json"
    )
