"""Puts the shards of an edit job together: the same file as that of the job that is not divided."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clme.errors import UserError
from clme.files import atomic, read_metadata, read_parquet
from clme.study.cases import read_cases, select
from clme.study.mixture import refuse_mixture
from clme.study.schema import EDITS
from clme.study.settings import EditSettings


def run(shards: Sequence[Path], cases: Path, output: Path) -> None:
    """Write the rows of all shards in the dataset's order.

    Args:
        shards: result files of all shards of one edit job, in any order.
        cases: the dataset's cases.
        output: where the rows go.

    Raises:
        UserError: a shard is missing, or belongs to another job; a case is missing.
    """
    refuse_mixture(shards)
    metadata = _metadata(shards)
    settings = EditSettings.model_validate_json(metadata["settings"])
    for path in shards:
        read_parquet(path, schema=EDITS)
    table = pa.concat_tables(pq.read_table(path) for path in shards).cast(EDITS)
    places = {name: place for place, name in enumerate(table["case_id"].to_pylist())}
    wanted = [c.case_id for c in select(read_cases(cases), settings.evaluation) if c.fold == settings.fold]
    if sorted(wanted) != sorted(table["case_id"].to_pylist()):
        raise UserError(
            f"{shards[0]} and the other shards: have {table.num_rows} rows for the fold's {len(wanted)}"
            " cases; rerun their rules"
        )
    rows = table.take([places[name] for name in wanted]).combine_chunks()
    kept = {key.encode(): value.encode() for key, value in metadata.items()}
    with atomic(output) as temporary:
        pq.write_table(rows.replace_schema_metadata(kept), temporary)


def _metadata(shards: Sequence[Path]) -> dict[str, str]:
    """Return what the shards say of themselves, as the job that is not divided says it.

    Raises:
        UserError: they are not the shards of one job.
    """
    found = [read_metadata(path) for path in shards]
    settings: list[dict[str, Any]] = [json.loads(one["settings"]) for one in found]
    parts = [one["shard"] for one in settings]
    whole = found[0] | {"settings": json.dumps({**settings[0], "shard": None})}
    refuse_incomplete(shards, parts)
    for path, about, own in zip(shards, found, settings, strict=True):
        own["shard"] = None
        mine = about | {"settings": json.dumps(own), "hardware": whole["hardware"]}
        different = [name for name, value in mine.items() if whole.get(name) != value]
        if different:
            raise UserError(f"{path} and {shards[0]}: were made with different {different[0]}; rerun one")
    whole["hardware"] = json.dumps(named_together([json.loads(one["hardware"]) for one in found]))
    return whole


def refuse_incomplete(shards: Sequence[Path], parts: Sequence[dict[str, int] | None]) -> None:
    """Make sure that files are all shards of one job.

    Args:
        shards: the files.
        parts: the shard that each says it is; None for a file that isn't one.

    Raises:
        UserError: one is missing, there twice, or no shard.
    """
    expected = {(number, len(shards)) for number in range(1, len(shards) + 1)}
    if {(part["number"], part["of"]) for part in parts if part} != expected:
        said = ", ".join(f"{part['number']} of {part['of']}" if part else "no shard" for part in parts)
        raise UserError(f"{shards[0]}: expected all shards of one job (have: {said}); name each once")


def named_together(hardware: Sequence[dict[str, str]]) -> dict[str, str]:
    """Name the hardware that shards ran on; where it was of several kinds, each."""
    return {name: ", ".join(dict.fromkeys(kind[name] for kind in hardware)) for name in hardware[0]}
