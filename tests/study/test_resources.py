"""Memory and time of jobs, by the sizes of their models."""

import re
from pathlib import Path

import pytest
import yaml

from clme.commands.plan import PRESETS, PUBLISHED
from clme.study import config
from clme.study.resources import JobResources

NOWHERE = Path("nowhere")
EMBEDDED = Path(__file__).parents[2] / "config.yaml"
MAKEFILE = EMBEDDED.with_name("Makefile")


def resources(path=PRESETS / "paper.yaml", results=NOWHERE, **changes):
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    return JobResources(config.load({**raw, **changes}), PUBLISHED, results)


def test_memory_follows_the_weights_and_the_precision():
    full, half = resources(), resources(compute={"dtype": "bfloat16"})
    weights = {"codellama-7b": 6.74e9 * 4e-6, "stablecode-3b": 2.8e9 * 4e-6}
    for model, megabytes in weights.items():
        assert megabytes < full.megabytes(model, 1) < 1.7 * megabytes
        assert megabytes / 2 < half.megabytes(model, 1) < full.megabytes(model, 1)


def test_two_jobs_of_the_embedded_model_fit_beside_each_other():
    """In what `make reproduce` gives them."""
    (given,) = re.findall(r"^MEMORY \?= (\d+)$", MAKEFILE.read_text(encoding="utf-8"), re.M)
    assert 540 < resources(EMBEDDED).megabytes("smollm2-135m", 1) <= int(given) / 2


def test_each_attempt_asks_for_more():
    found = resources()
    assert [found.megabytes("codellama-7b", attempt) for attempt in (1, 2, 3)] == pytest.approx(
        [found.megabytes("codellama-7b", 1) * attempt for attempt in (1, 2, 3)], abs=3
    )
    job = ("edit", "codellama-7b", "cnle", "ft_l")
    assert found.minutes(*job, 2) == pytest.approx(2 * found.minutes(*job, 1), abs=1)


def test_time_is_that_of_the_forecast_with_a_margin():
    """25.2 hours of FT-L on CodeLlama and CNLE, two folds, twice as long, and an hour."""
    assert resources().minutes("edit", "codellama-7b", "cnle", "ft_l", 1) == pytest.approx(
        60 * (1 + 2 * 25.2 / 2), abs=6
    )


@pytest.mark.parametrize("work", ["evaluate", "value", "train", "moments"])
def test_what_is_made_before_editing_has_its_time(work):
    found = resources()
    small, large = (
        found.minutes(work, model, "csne", None, 1) for model in ("stablecode-3b", "codellama-7b")
    )
    assert 60 < small < large


def test_an_unknown_model_is_taken_for_a_large_one_until_it_is_there(tiny_models, tmp_path):
    found = resources(results=tmp_path, models={"mine": {"source": "hub:somebody/model"}})
    assert found.megabytes("mine", 1) > 32_000
    assert found.minutes("edit", "mine", "cnle", "none", 1) == 60
    (tmp_path / "models").mkdir()
    (tmp_path / "models/mine").symlink_to(tiny_models["llama"])
    assert found.megabytes("mine", 1) < 2300
    assert found.minutes("edit", "mine", "cnle", "none", 1) > 60


def test_a_folder_needs_no_download(tiny_models):
    found = resources(models={"mine": {"source": f"path:{tiny_models['llama']}"}})
    assert found.megabytes("mine", 1) < 2300


def test_only_a_study_on_the_processor_asks_for_no_accelerator():
    assert resources().accelerators == 1
    assert resources(compute={"device": "cpu"}).accelerators == 0


def test_the_summary_says_how_long_the_study_takes():
    assert "2,582.4 hours of one NVIDIA A100" in resources().summary()
    unknown = resources(models={"mine": {"source": "hub:somebody/model"}}).summary()
    assert unknown.startswith("not known: hub:somebody/model: its sizes aren't known")


def test_a_divided_job_takes_a_part_of_the_time_and_none_more_than_it_may():
    job = ("edit", "codellama-7b", "cnle", "ft_l", 1)
    assert resources().minutes(*job, 5) == pytest.approx(60 * (1 + 2 * 25.2 / 2 / 5), abs=6)
    limited = resources(compute={"job_hours": 6})
    assert limited.minutes(*job) == limited.minutes(*job[:-1], 3) == 360
