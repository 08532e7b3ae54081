"""What jobs ask of the machines that run them: memory, time and accelerators, by the sizes of their models.

A job that failed asks for more: twice as much at its second attempt, three times at its third.
"""

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clme.errors import UserError
from clme.study.config import StudyConfig

if TYPE_CHECKING:
    from clme.study.costs import Shape
    from clme.study.forecast import Forecast

Work = Literal["edit", "evaluate", "vectors", "value", "train", "moments"]

INTERPRETERS_MB = 2250
"""What Python takes with torch and a tokenizer, before a model is loaded; where jobs are submitted, Snakemake
runs twice around it, and loads torch, too."""
WEIGHTS = 1.35
"""Memory beside that, in sizes of the model's weights: the model itself, and what is computed with it."""
UNKNOWN_WEIGHTS = 8e9
"""Of a model whose sizes aren't known before it has been downloaded."""
LOADING_HOURS = 1.0
"""What the forecast leaves out: waiting for files, loading, metrics, cases that are edited one at a time."""
MARGIN = 2.0
"""The forecast is of one known accelerator, and says itself what it leaves out."""


class JobResources:
    """Memory and time of a study's jobs.

    Args:
        study: its configuration.
        published: the paper's Table III, for lengths of texts and numbers of cases.
        results: the folder of the study's results, for the sizes of models that are there.
    """

    def __init__(self, study: StudyConfig, published: Path, results: Path) -> None:
        self._study, self._published, self._results = study, published, results
        self._known_hours: dict[tuple[str | None, ...], float] = {}

    @property
    def accelerators(self) -> int:
        """How many accelerators a job that runs a language model asks for."""
        return 0 if self._study.compute.device == "cpu" else self._study.compute.accelerators

    def megabytes(self, model: str, attempt: int) -> int:
        """Return the main memory of a job, in MB, at an attempt (1 is the first)."""
        shape = self._shape(model)
        size = {"float32": 4, "bfloat16": 2, "float16": 2}[self._study.compute.dtype]
        weights = UNKNOWN_WEIGHTS if shape is None else shape.weights
        return math.ceil(attempt * (INTERPRETERS_MB + WEIGHTS * weights * size / 1e6))

    def minutes(
        self,
        work: Work,
        model: str,
        dataset: str | None,
        row: str | None,
        attempt: int,
        shards: int = 1,
    ) -> int:
        """Return the time of a job, in minutes, at an attempt (1 is the first).

        Args:
            work: what the job does.
            model: the study's name of its model.
            dataset: the study's name of its dataset, if it has one.
            row: the row of the study's tables that an edit job is for.
            attempt: 1 is the first.
            shards: among so many jobs the work is divided.

        It is not more than the study's `compute.job_hours`: a job that needs longer stops before, and goes on
        when it is run again.
        """
        job = (work, model, dataset, row)
        if job not in self._known_hours and self._shape(model) is not None:
            self._known_hours[job] = self._hours(*job)
        hours = attempt * (LOADING_HOURS + MARGIN * self._known_hours.get(job, 0.0) / shards)
        return math.ceil(60 * min(hours, self._study.compute.job_hours or math.inf))

    def summary(self) -> str:
        """Return one line on what the whole study takes."""
        if self._forecast is None:
            return "not known: torch is not installed"
        try:
            hours = self._forecast.total()
        except UserError as error:
            return f"not known: {error}"
        return f"{hours:,.1f} hours of one {self._forecast.device.name}; `clme plan` says what that assumes"

    def _hours(self, work: Work, model: str, dataset: str | None, row: str | None) -> float:
        forecast = self._forecast
        if forecast is None:
            return 0.0
        if work == "moments":
            return forecast.moments(model)
        if dataset is None:
            return 0.0
        if work == "edit" and row is not None:
            return forecast.edits(model, dataset, row) / self._study.folds
        if work == "vectors":
            return forecast.vectors(model, dataset) / self._study.folds
        if work == "value":
            return forecast.values(model, dataset) / self._study.folds
        if work == "train":
            return forecast.training(model, dataset) / self._study.folds
        return forecast.unedited(model, dataset)

    def _shape(self, model: str) -> "Shape | None":
        from clme.study.costs import shape_of

        try:
            return shape_of(self._study.models[model].source, self._results / "models" / model)
        except UserError:
            return None

    @cached_property
    def _forecast(self) -> "Forecast | None":
        return forecast_of(self._study, self._published, self._results)


def forecast_of(study: StudyConfig, published: Path, results: Path) -> "Forecast | None":
    """Return what jobs are laid out by: the forecast for an A100, with half of the expected tokens missed.

    None without torch: nothing can be edited then, and results can still be drawn.

    Args:
        study: its configuration.
        published: the paper's Table III.
        results: the folder of the study's results, for the sizes of models that are there.
    """
    try:
        from clme.study.forecast import A100, Forecast
    except ModuleNotFoundError as error:
        if error.name == "torch":
            return None
        raise
    return Forecast(study, published, results, A100, missed=0.5)
