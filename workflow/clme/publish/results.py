"""The results folder, as tables, figures and the paper read it."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import ValidationError

from clme.errors import UserError
from clme.files import read_metadata, read_parquet
from clme.publish import exhibits, names
from clme.study.config import StudyConfig
from clme.study.mixture import read_together
from clme.study.schema import COMPARISONS, DISTANCES, EDITS, METRICS, SCORES, STRATA, TRAINING

_MEASURED = ("error", "target", "edit_seconds", "peak_memory_mb")
_SCORES = pa.schema([*SCORES, *(EDITS.field(name) for name in _MEASURED)])


class Results:
    """Reads result files, each when it is first asked for.

    Args:
        folder: such as ``results``; laid out as a run of the workflow leaves it.
        published: folder with the paper's numbers as CSV files.
    """

    def __init__(self, folder: Path, published: Path) -> None:
        self.folder, self.published = Path(folder), Path(published)

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
    def scores(self) -> pd.DataFrame:
        """All cases of all edit jobs, schema SCORES with the target and what was measured; without texts.

        Raises:
            UserError: a file is missing, or files of different studies are mixed.
        """
        paths = [self.folder / name for name in exhibits.inputs(self.study, "edits")]
        for path in paths:
            if not path.exists():
                raise UserError(f"{path}: no such file; run the rule that makes it (`snakemake {path}`)")
        return read_together(paths, _SCORES)

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """What must be said wherever numbers of the edits are shown, such as that a fast mode was used."""
        editors: dict[str, set[str]] = {}
        for name in exhibits.inputs(self.study, "edits"):
            path = self.folder / name
            if path.exists():
                for note in json.loads(read_metadata(path).get("notes", "[]")):
                    editors.setdefault(note, set()).add(Path(name).parts[3])
        return tuple(
            f"{names.listing(map(names.editor, names.in_order(found)))}: {note}."
            for note, found in sorted(editors.items())
        )

    def edits(self, model: str, dataset: str, editor: str) -> pd.DataFrame:
        """Return the rows of one editor on one dataset of one model, all folds; schema EDITS."""
        folder = self.folder / "edits" / model / dataset / editor
        folds = [
            read_parquet(folder / f"fold{fold}.parquet", schema=EDITS) for fold in range(self.study.folds)
        ]
        return pd.concat(folds, ignore_index=True).sort_values("case_id", ignore_index=True)

    @functools.cached_property
    def comparisons(self) -> pd.DataFrame:
        """Paired differences of editors, schema COMPARISONS."""
        return read_parquet(self.folder / "comparisons.parquet", schema=COMPARISONS)

    @functools.cached_property
    def strata(self) -> pd.DataFrame:
        """Metrics of parts of the cases, schema STRATA."""
        return read_parquet(self.folder / "strata.parquet", schema=STRATA)

    @functools.cached_property
    def training(self) -> pd.DataFrame:
        """What was measured while editors trained, schema TRAINING."""
        return read_parquet(self.folder / "training.parquet", schema=TRAINING)

    def distances(self, model: str, dataset: str) -> pd.DataFrame:
        """Return the distances between keys of a dataset's cases, schema DISTANCES."""
        return read_parquet(self.folder / "distances" / model / f"{dataset}.parquet", schema=DISTANCES)

    def stages(self, dataset: str) -> dict[str, int]:
        """Return how many pairs passed each stage of a dataset's construction."""
        found: dict[str, int] = self._json(f"datasets/{dataset}/stages.json")
        return found

    def statistics(self, dataset: str) -> dict[str, Any]:
        """Return a dataset's ``grades`` (None where nothing was graded) and ``lengths``."""
        found: dict[str, Any] = self._json(f"datasets/{dataset}/statistics.json")
        return found

    def answers(self, dataset: str) -> dict[str, Any]:
        """Return the length of what unedited models say to a dataset's neighbours."""
        found: dict[str, Any] = self._json(f"datasets/{dataset}/answers.json")
        return found

    def published_csv(self, name: str) -> pd.DataFrame:
        """Return one of the paper's tables, such as ``table4``.

        Raises:
            UserError: the file is missing.
        """
        path = self.published / f"{name}.csv"
        try:
            return pd.read_csv(path, keep_default_na=False)
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file; give the folder by --published") from error

    def _json(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(
                f"{path}: no such file; run the rule that makes it (`snakemake {path}`)"
            ) from error
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error}); delete it and rerun its rule") from error

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
