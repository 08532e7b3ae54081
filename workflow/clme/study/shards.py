"""How many jobs the cases of a fold are divided among, so that each ends within its time."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from clme.errors import UserError
from clme.study import needs
from clme.study.config import StudyConfig
from clme.study.resources import forecast_of

if TYPE_CHECKING:
    from clme.study.forecast import Forecast

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
    rows = list(product(study.models, study.datasets, study.editor_names))
    return _divided(study, rows, published, lambda forecast, *row: forecast.edits(*row))


def of_needed(study: StudyConfig, published: Path) -> dict[str, int]:
    """Return the number of shards of each ``folder/model/dataset`` whose needed files several jobs make.

    Args:
        study: its configuration.
        published: the paper's Table III, for the forecast of `compute.shards: auto`.

    Raises:
        UserError: the number is to follow from a model's size, and that isn't known.
    """
    kinds = [kind.folder for kind in needs.KINDS.values() if kind.divisible]
    return _divided(study, list(product(kinds, study.models, study.datasets)), published, _needed)


def _needed(forecast: "Forecast", kind: str, model: str, dataset: str) -> float:
    if kind == needs.KINDS["vectors"].folder:
        return forecast.vectors(model, dataset)
    return forecast.values(model, dataset)


def _divided(
    study: StudyConfig,
    jobs: Sequence[tuple[str, str, str]],
    published: Path,
    hours: "Callable[[Forecast, str, str, str], float]",
) -> dict[str, int]:
    """Return the number of shards of those jobs that are divided, by their names.

    Args:
        hours: of a job, for all folds, by the forecast.
    """
    chosen = study.compute.shards
    found = _forecast(study, jobs, published, hours) if chosen == "auto" else dict.fromkeys(jobs, chosen)
    return {"/".join(job): number for job, number in found.items() if number > 1}


def _forecast(
    study: StudyConfig,
    jobs: Sequence[tuple[str, str, str]],
    published: Path,
    hours: "Callable[[Forecast, str, str, str], float]",
) -> dict[tuple[str, str, str], int]:
    assert study.compute.job_hours is not None
    limit = PART_OF_TIME * study.compute.job_hours
    # The models' own files aren't asked: they are downloaded after the jobs have been laid out.
    forecast = forecast_of(study, published, Path("nowhere"))
    if forecast is None:
        return {}
    try:
        return {job: math.ceil(hours(forecast, *job) / study.folds / limit) for job in jobs}
    except UserError as error:
        raise UserError(
            f"compute.shards: auto needs the models' sizes ({error}); or say how many shards"
        ) from error
