"""The results folder, as tables, figures and the paper read it."""

import functools
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from clme.errors import UserError
from clme.files import read_parquet
from clme.publish import names
from clme.study.config import StudyConfig
from clme.study.schema import EDITS, METRICS


class Results:
    """Reads result files, each when it is first asked for.

    Args:
        folder: such as ``results``; laid out as a run of the workflow leaves it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @functools.cached_property
    def study(self) -> StudyConfig:
        """The study's configuration.

        Raises:
            UserError: `study.json` is missing or of another version.
        """
        path = self.folder / "study.json"
        try:
            return StudyConfig.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(
                f"{path}: no such file; run the rule that makes it (`snakemake {path}`)"
            ) from error
        except ValidationError as error:
            raise UserError(
                f"{path}: isn't a study of this version ({error.error_count()} problems); rerun its rule"
            ) from error

    @functools.cached_property
    def metrics(self) -> pd.DataFrame:
        """The numbers of all cells, schema METRICS."""
        return read_parquet(self.folder / "metrics.parquet", schema=METRICS)

    @functools.cached_property
    def edits(self) -> pd.DataFrame:
        """The rows of all edit jobs, schema EDITS; only those of the study's own cells."""
        study = self.study
        paths = [
            self.folder / "edits" / model / dataset / editor / f"fold{fold}.parquet"
            for model in study.models
            for dataset in study.datasets
            for editor in study.editor_names
            for fold in range(study.folds)
        ]
        found = [path for path in paths if path.exists()]
        if not found:
            raise UserError(f"{self.folder / 'edits'}: holds no results of this study; run `snakemake`")
        return pd.concat([read_parquet(path, schema=EDITS) for path in found], ignore_index=True)

    @property
    def models(self) -> dict[str, str]:
        """The models' names in print."""
        return self.study.labels

    @property
    def datasets(self) -> dict[str, str]:
        """The datasets' names in print."""
        return {name: names.dataset(name, one.task) for name, one in self.study.datasets.items()}

    def editors(self, wanted: Sequence[str] = ()) -> list[str]:
        """Return the study's editors and the `wanted` ones, in the paper's order."""
        return names.in_order({*self.study.editor_names, *wanted})

    @functools.cached_property
    def _cells(self) -> dict[tuple[str, ...], "pd.Series[float]"]:
        keys = ["model", "dataset", "editor", "dimension", "metric"]
        return {tuple(row[keys]): row for _, row in self.metrics.iterrows()}

    def cell(
        self, model: str, dataset: str, editor: str, dimension: str, metric: str
    ) -> "pd.Series[float] | None":
        """Return a cell's row of the metrics (value, low, high, cases, failed); None if it is missing."""
        return self._cells.get((model, dataset, editor, dimension, metric))
