"""Puts result files of edit jobs together, and refuses what different studies have made."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from clme.errors import UserError
from clme.files import read_metadata, read_parquet

KEYS = ["model", "dataset", "editor"]


def read_together(paths: Sequence[Path], schema: pa.Schema) -> pd.DataFrame:
    """Read result files of edit jobs of one study as one table.

    Args:
        paths: files of `results/edits`.
        schema: the wanted columns, `KEYS` and ``case_id`` among them.

    Raises:
        UserError: files of different studies are mixed, or a case is there twice.
    """
    refuse_mixture(paths)
    frame = pd.concat([read_parquet(path, schema=schema) for path in paths], ignore_index=True)
    twice = frame[frame.duplicated([*KEYS, "case_id"])]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(
            f"case {row.case_id} of {row.model}/{row.dataset}/{row.editor} is in two of the files"
        )
    return frame


def refuse_mixture(paths: Sequence[Path]) -> None:
    """Make sure that result files of edit jobs belong to one study.

    All must have one protocol, seed, selection of cases, precision, and version of the package and its
    libraries; files of one dataset the same cases, of one model the same weights, and of one editor the same
    code.

    Raises:
        UserError: two files don't fit; both are named.
    """
    seen: dict[str, tuple[str, Path]] = {}
    for path in paths:
        for name, value in _facts(path):
            before, other = seen.setdefault(name, (value, path))
            if before != value:
                raise UserError(
                    f"{other} and {path}: made with different {name} ({before}, {value}); rerun one"
                )


def _facts(path: Path) -> Iterable[tuple[str, str]]:
    """Yield what a file says of itself that others must agree with."""
    metadata = read_metadata(path)
    try:
        settings, versions = json.loads(metadata["settings"]), json.loads(metadata["versions"])
        yield "protocol", metadata["protocol"]
        yield "seed", metadata["seed"]
        yield "evaluation", json.dumps(settings["evaluation"])
        yield "compute.dtype", settings["compute"]["dtype"]
        yield f"cases of {settings['dataset']}", metadata["cases_sha256"]
        yield f"files of {settings['model']}", metadata["model_manifest_sha256"]
        yield f"source of {settings['editor']}", metadata["source_hash"]
        # Python's own version does not change results.
        for library, version in versions.items():
            if library != "python":
                yield f"version of {library}", version
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: doesn't say what made it ({error!r}); rerun its rule") from error
