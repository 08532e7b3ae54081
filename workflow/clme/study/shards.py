"""How many jobs the cases of a fold are divided among, so that each ends within its time."""

import math
from pathlib import Path

from clme.errors import UserError
from clme.study.config import StudyConfig
from clme.study.resources import forecast_of

PART_OF_TIME = 0.5
"""Of the time that a job may take, what it is predicted to take at most: the forecast leaves things out."""


def numbers(study: StudyConfig, published: Path) -> dict[str, int]:
    """Return the number of shards of each ``model/dataset/row`` whose edit jobs are divided.

    It follows from the configuration alone: files are named by it.

    Args:
        study: its configuration.
        published: the paper's Table III, for the forecast of `compute.shards: auto`.

    Raises:
        UserError: the number is to follow from a model's size, and that isn't known.
    """
    rows = [
        (model, dataset, row)
        for model in study.models
        for dataset in study.datasets
        for row in study.editor_names
    ]
    chosen = study.compute.shards
    of_rows = _forecast(study, rows, published) if chosen == "auto" else dict.fromkeys(rows, chosen)
    return {"/".join(row): number for row, number in of_rows.items() if number > 1}


def _forecast(
    study: StudyConfig, rows: list[tuple[str, str, str]], published: Path
) -> dict[tuple[str, str, str], int]:
    assert study.compute.job_hours is not None
    hours = PART_OF_TIME * study.compute.job_hours
    # The models' own files aren't asked: they are downloaded after the jobs have been laid out.
    forecast = forecast_of(study, published, Path("nowhere"))
    if forecast is None:
        return {}
    try:
        return {row: math.ceil(forecast.edits(*row) / study.folds / hours) for row in rows}
    except UserError as error:
        raise UserError(
            f"compute.shards: auto needs the models' sizes ({error}); or say how many shards"
        ) from error
