"""The benchmark of the engine on a tiny model: its numbers fit together, and outputs are the reference's.

This is the suite's test of equality: every row of the study, in batches and alone, against the plain
reference that edits one request at a time (`reference_rows.py`). Nothing here is about how long it takes.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import prepared
from clme.editors import registry
from clme.study import costs
from clme.study.settings import Compute

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "benchmarks/engine"
SMOKE = ROOT / "workflow/presets/smoke-editors.yaml"
CASES = 3
ROWS = ["none", "ft_l", "rome", "memit", "pmet", "malmen"]
ROWS += ["grace", "a_grace", "a_grace_wo_cl", "a_grace_wo_mean"]
CODEBOOKS = ROWS[6:]


def program(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def run(folder):
    """What the program prints, and what it writes."""
    sizes = ["--cases", CASES, "--apart", CASES, "--runs", 1, "--threads", 1, "--no-fluency"]
    done = program(ENGINE, "--tiny", "llama", *sizes, "--output", folder / "performance.json")
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "performance.json").read_text())


@pytest.fixture(scope="module")
def found(run):
    return run[1]


@pytest.fixture(scope="module")
def measured(found):
    """The parts by row, way and kind of run."""
    return {
        (one["row"], one["way"], "counted" if one["run"] == "counted" else "timed"): one["parts"]
        for one in found["measured"]
    }


def test_greedy_outputs_are_the_plain_references(found):
    """In a batch and alone; where they aren't, two logits tie within 1e-4."""
    compared = {(one["row"], one["way"]): one for one in found["equality"]}
    assert compared.keys() == {(row, way) for row in ROWS for way in ("together", "alone")}
    for about, one in compared.items():
        assert one["cases"] == CASES, about
        assert one["prompts"] == CASES * 4
        assert all(each["tie"] for each in one["differing"]), (about, one["differing"])


def test_the_edits_change_outputs_in_the_reference_too(found):
    """Otherwise the comparison would be one of the unedited model with itself."""
    assert not any(one["failed"] for one in found["measured"])
    changed = {one["row"]: one["changed"] for one in found["equality"] if one["way"] == "together"}
    assert changed["none"] == 0
    assert all(changed[row] >= CASES / 2 for row in ROWS[1:]), changed


def test_all_is_measured(measured):
    assert measured.keys() == {
        (row, way, run)
        for row in ROWS
        for way in ("together", "alone", "plain")
        for run in ("counted", "timed")
    }
    for (row, way, run), parts in measured.items():
        assert parts.keys() == {"evaluation"} | ({"edit"} if row != "none" or way == "plain" else set())
        for part in parts.values():
            assert part["seconds"] > 0
            assert (part["flops"] is not None) == (run == "counted")


def test_the_counts_fit_together(measured):
    def count(row, way, part, what="flops"):
        return measured[row, way, "counted"][part][what]

    for row in ROWS:
        asked = count("none", "plain", "evaluation", "tokens")
        assert count(row, "plain", "evaluation", "tokens") == asked, "all rows are asked the same"
        for way in ("together", "alone"):
            assert count(row, way, "evaluation", "tokens") <= 3 * asked, "much is done twice"
            assert row == "none" or 0 < count(row, way, "edit") < count(row, "plain", "edit")
    for row in CODEBOOKS[1:]:
        assert count(row, "together", "edit") < count("grace", "together", "edit") / 10, "values are shared"


def test_operations_are_those_of_the_shapes(measured):
    """Counted by hand for the unedited model's greedy outputs in the reference."""
    sizes = {"width": 64, "inner": 128, "layers": 6, "heads": 4, "shared": 2}
    head = sizes["width"] // sizes["heads"]
    weights = 2 * sizes["width"] ** 2 + 2 * sizes["width"] * head * sizes["shared"]
    weights += 3 * sizes["width"] * sizes["inner"]
    tokens = measured["none", "plain", "counted"]["evaluation"]["tokens"]
    flops = measured["none", "plain", "counted"]["evaluation"]["flops"]
    linear = 2 * tokens * sizes["layers"] * weights
    assert linear < flops < 1.6 * linear, "the rest are logits and attention"


@pytest.mark.parametrize("row", ROWS[1:])
def test_what_a_plan_expects_of_an_edit_is_what_is_counted(measured, found, row):
    """Alone, an edit has no padding but its own; a plan lets every optimisation take all of its steps."""
    texts = costs.Texts(**found["texts"]["words"])
    overrides = yaml.safe_load(SMOKE.read_text())["models"]["tiny-llama"]["editors"][row]
    config = registry.configured(row, protocol="paper", task="cnle", overrides=overrides, seed=0).config
    shape = costs.Shape(layers=6, hidden=64, inner=128, queries=64, shared=32, vocabulary=512)
    expected = costs.EDITS[row](shape, texts, config).operations(shape, context=texts.prompt)
    counted = measured[row, "alone", "counted"]["edit"]["flops"] / CASES
    may_stop = row in ("ft_l", "rome", "memit", "pmet")
    assert (0.2 if may_stop else 5 / 6) * expected < counted < 7 / 6 * expected


def test_the_table_names_targets_and_the_page_has_all_rows(run, folder):
    printed, _ = run
    for name in ("all rows of the study", "GRACE, A-GRACE and its ablations", "evaluation of malmen"):
        assert name in printed
    assert "bound" in printed
    done = program(ENGINE / "page.py", folder / "performance.json")
    assert done.returncode == 0, done.stderr
    page = (folder / "performance.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert page.count(f"| {row} | ") >= 3
    assert "| all rows of the study | 5 |" in page
    assert (folder / "performance.svg").stat().st_size > 1000


def test_what_other_machines_took_has_a_section_for_each(folder, tmp_path):
    shutil.copy(folder / "performance.json", tmp_path)
    for name in ("first", "second"):
        (tmp_path / "machines").mkdir(exist_ok=True)
        found = json.loads((folder / "performance.json").read_text())
        found["about"]["processor"] = f"the {name} processor"
        (tmp_path / f"machines/{name}.json").write_text(json.dumps(found))
    done = program(ENGINE / "page.py", tmp_path / "performance.json")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert page.count("## On another machine") == 2
    assert page.count("| all rows of the study | 5 |") == 3
    assert page.index("the first processor") < page.index("the second processor")


def test_reduced_precision_has_a_target_of_its_own(found, tmp_path):
    """As if it had taken half of the time."""
    found = json.loads(json.dumps(found))
    found["about"]["reduced"] = "bfloat16"
    for one in [one for one in found["measured"] if one["way"] == "together"]:
        parts = {name: part | {"seconds": part["seconds"] / 2} for name, part in one["parts"].items()}
        found["measured"].append(one | {"way": "reduced", "parts": parts})
    (tmp_path / "found.json").write_text(json.dumps(found))
    done = program(ENGINE / "page.py", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "found.md").read_text(encoding="utf-8")
    ratios = [
        float(next(line for line in page.splitlines() if line.startswith(start)).split(" | ")[3])
        for start in ("| all rows of the study | 5 |", "| all rows of the study, bfloat16 | 10 |")
    ]
    assert ratios[1] == pytest.approx(2 * ratios[0], abs=0.2)


def test_memory_is_compared_with_what_a_batch_may_take(found, monkeypatch):
    """Alone 20 MB beside the model's 100, so for a batch 1.5 x 120 MB, and 20 MB for each further case."""
    monkeypatch.syspath_prepend(str(ENGINE))
    import summary

    given = json.loads(json.dumps(found))
    given["about"]["model_mb"] = 100.0
    for one in given["measured"]:
        for part in one["parts"].values():
            part["peak_memory_mb"] = 20.0
        if one["way"] == "together" and one["row"] == "ft_l" and "edit" in one["parts"]:
            one["parts"]["edit"]["peak_memory_mb"] = 140.0
    cases = min(CASES, given["about"]["compute"]["batch_cases"])
    expected = {"dataset": "words", "row": "ft_l", "together": 240.0, "alone": 120.0, "ratio": 2.0}
    expected |= {"cases": cases, "allowed": 180.0 + 20.0 * (cases - 1)}
    assert summary.memory(given).items() >= expected.items()


def test_a_page_is_made_of_several_files(found, tmp_path):
    """Of other datasets and the same settings."""
    other = json.loads(json.dumps(found).replace('"words"', '"letters"'))
    other["about"]["load_before"] = 7.0
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps(found))
    second.write_text(json.dumps(other))
    done = program(ENGINE / "page.py", first, second, "--output", tmp_path / "page.md")
    assert done.returncode == 0, done.stderr
    assert "### WORDS" in (tmp_path / "page.md").read_text()
    assert "### LETTERS" in (tmp_path / "page.md").read_text()
    assert "words is measured in" in program(ENGINE / "page.py", first, first).stderr
    other["about"]["threads"] = 64
    second.write_text(json.dumps(other))
    assert "second.json: its threads is 64, that of" in program(ENGINE / "page.py", first, second).stderr


def test_an_outside_implementation_takes_part(tmp_path):
    adapter = tmp_path / "adapter.py"
    adapter.write_text(
        f"""
import sys
sys.path.insert(0, {str(ENGINE)!r})
from protocol import serve

PART = {{"seconds": 2.0, "peak_memory_mb": None, "flops": None, "tokens": None}}

class Outside:
    def load(self, **message):
        self.cases = message["cases"]
        return {{}}

    def run(self, row, cases, together):
        texts = {{case: [[1]] * (2 + len(self.cases[0]["neighbours"])) for case in cases}}
        parts = {{name: PART for name in ("edit", "evaluation", "fluency")}}
        return {{"parts": parts, "outputs": texts, "failed": {{}}}}

serve(Outside())
"""
    )
    output = tmp_path / "found.json"
    chosen = ["--tiny", "llama", "--editors", "none", "--cases", 2, "--apart", 2, "--runs", 1, "--threads", 1]
    chosen += ["--reduced", "bfloat16"]
    done = program(ENGINE, *chosen, "--adapter", adapter, "--output", output)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert {one["way"] for one in found["measured"]} == {"together", "alone", "reduced", "plain", "adapter"}
    wrong = next(one for one in found["equality"] if one["way"] == "adapter")
    assert wrong["cases_differing"] == 2
    assert all(each["margin"] > 0 for each in wrong["differing"])
    assert "adapter" in done.stdout
    for one in found["measured"]:
        ours = one["way"] in ("together", "alone", "reduced")
        # What is sampled is told apart from the rest by its seconds only.
        apart = {"evaluation"} if not ours or one["run"] != "counted" else set()
        assert one["parts"].keys() >= apart | {"both" if ours else "fluency"}


def test_a_study_gives_what_sides_can_read(tmp_path, monkeypatch):
    """Its first fold's cases, and settings that a job understands."""
    monkeypatch.syspath_prepend(str(ENGINE))
    import inputs

    monkeypatch.setattr(inputs, "ROOT", tmp_path)
    study = inputs.read_study(ROOT / "config.yaml")
    (model,) = study.models
    wanted = inputs.needed(study, model, ["cnle"], ROWS, [0, 1])
    for path in wanted:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    prepared.write_cases(tmp_path / "results/datasets/cnle/cases.parquet", count=8, folds=2)
    every = inputs.of_study(study, model, ["cnle"], ROWS, [0, 1], None)
    assert [{case.fold for case in dataset.cases} for dataset in every.datasets] == [{0}, {1}]
    assert sum(len(dataset.cases) for dataset in every.datasets) == 8
    found = inputs.of_study(study, model, ["cnle"], ROWS, [0], 3)
    (dataset,) = found.datasets
    assert [case.fold for case in dataset.cases] == [0, 0, 0]
    assert dataset.rows.keys() == set(ROWS)
    message = inputs.loading(found, dataset, 1, counting=False)
    assert Compute.model_validate(message["compute"]) == study.compute.of_a_job()


def test_every_case_is_compared(folder, monkeypatch):
    """Of another family; what is found goes onto the page."""
    output = folder / "equality"
    rows = ["none", "ft_l", "grace"]
    sizes = ["--editors", ",".join(rows), "--cases", 3, "--apart", 1, "--threads", 1]
    done = program(ENGINE / "equality.py", "--tiny", "qwen2", *sizes, "--output", output)
    assert done.returncode == 0, done.stderr
    assert "words fold 0 ft_l together: 0 of 3 cases differ" in done.stdout
    found = json.loads((output / "tiny-qwen2-words.json").read_text())
    compared = {(one["row"], one["way"]): one["cases"] for one in found["equality"]}
    assert compared == {(row, way): cases for row in rows for way, cases in (("together", 3), ("alone", 1))}
    monkeypatch.syspath_prepend(str(ENGINE))
    import page

    together, alone = page._every_case([found])
    assert (together["model"], together["cases"], together["prompts"]) == ("tiny qwen2", 9, 36)
    assert (alone["way"], alone["cases"], alone["differing"]) == ("alone", 3, 0)
    assert together["changed"] > 0


def test_the_cost_model_finds_what_time_is_made_of(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ENGINE))
    import scaling

    random = np.random.default_rng(0)
    points = list(scaling.points([10, 100], [1, 8], [64, 512]))
    found = pd.DataFrame([{**point, "row": row} for point in points for row in scaling.ROWS])
    found["operations"] = random.uniform(1e9, 1e12, len(found))
    found["values"] = random.uniform(1e7, 1e9, len(found))
    found["passes"] = random.uniform(1e2, 1e4, len(found))
    found["megabytes"] = found["at"] - 1.0
    found["seconds"] = found["operations"] / 1e11 + found["values"] * 5e-9 + found["passes"] * 1e-4
    fit = scaling.fitted(found)
    assert fit["speed"] == pytest.approx(1e11)
    assert fit["handling"] == pytest.approx(5e-9)
    assert fit["latency"] == pytest.approx(1e-4)
    assert fit["largest_error"] < 1e-6
    scaling.plot(found, tmp_path / "scaling.svg")
    assert (tmp_path / "scaling.svg").stat().st_size > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--editors", "grce"], "--editors: grce: not among none, ft_l"),
        (["--config", ROOT / "config.yaml", "--datasets", "x"], "--datasets: x: not among cnle, csne"),
    ],
)
def test_wrong_names_are_refused(options, said, tmp_path):
    done = program(ENGINE, *options, "--output", tmp_path / "x.json")
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
