import pytest

from clme.errors import UserError
from clme.study.settings import BaselineSettings, EditSettings, Selection, parse


def test_settings_survive_the_command_line():
    made = EditSettings(
        model="tiny",
        dataset="cnle",
        editor="grace",
        fold=1,
        hyperparameters={"layer": 3},
        evaluation=Selection(cases=4, exclude=("cnle-00001",)),
    )
    assert parse(EditSettings, made.model_dump_json()) == made


def test_defaults_are_the_papers():
    found = parse(BaselineSettings, '{"model": "tiny", "dataset": "cnle"}')
    assert (found.protocol, found.seed, found.evaluation.cases) == ("paper", 0, None)
    assert found.compute.dtype == "float32"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "settings: Invalid JSON"),
        ("[]", "settings: Input should be an object"),
        ('{"model": "tiny"}', "dataset: Field required"),
        ('{"model": "tiny", "dataset": "cnle", "sed": 1}', "sed: Extra inputs are not permitted"),
        ('{"model": "tiny", "dataset": 3}', "dataset: Input should be a valid string"),
        (
            '{"model": "tiny", "dataset": "cnle", "evaluation": {"cases": "all"}}',
            r"evaluation\.cases: Input should be a valid integer",
        ),
        ('{"dataset": 3, "protocol": "x"}', "model: .*; dataset: .*; protocol: "),
    ],
)
def test_bad_settings_are_one_line(text, said):
    with pytest.raises(UserError, match=f"--settings: {said}") as error:
        parse(BaselineSettings, text)
    assert "\n" not in str(error.value)
