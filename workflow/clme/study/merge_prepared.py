"""Puts the shards of a file that editors need together: the same as one job makes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clme.errors import UserError
from clme.study.merge import named_together, refuse_incomplete
from clme.tensors import read_tensor_metadata, read_tensors, write_tensors


def run(shards: Sequence[Path], output: Path) -> None:
    """Write the tensors of all shards, one after the other along their first dimension.

    Args:
        shards: files of all shards of one job of `clme prepare`, in any order.
        output: where the whole file goes.

    Raises:
        UserError: a shard is missing, can't be read, or belongs to another job.
    """
    found = [read_tensor_metadata(path) for path in shards]
    refuse_incomplete(shards, [about.get("settings", {}).get("shard") for about in found])
    # A shard's batches are contiguous in the plan of the whole fold.
    order = sorted(range(len(shards)), key=lambda place: found[place]["settings"]["shard"]["number"])
    paths, said = [shards[place] for place in order], [found[place] for place in order]
    metadata = _whole(paths, said)
    write_tensors(output, _in_a_row([read_tensors(path) for path in paths]), metadata)


def _whole(paths: Sequence[Path], said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the file says of itself when one job makes it.

    Raises:
        UserError: the shards are of different jobs.
    """
    own = {
        "case_ids": [name for about in said for name in about["case_ids"]],
        "hardware": named_together([about["hardware"] for about in said]),
    }
    wholes = [about | own | {"settings": about["settings"] | {"shard": None}} for about in said]
    for path, whole in zip(paths, wholes, strict=True):
        different = sorted(name for name in whole | wholes[0] if whole.get(name) != wholes[0].get(name))
        if different:
            raise UserError(f"{path} and {paths[0]}: were made with different {different[0]}; rerun one")
    return wholes[0]


def _in_a_row(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Put tensors together; those of a shard without cases may lack their other dimensions."""
    filled = [part for part in parts if any(map(len, part.values()))] or parts[:1]
    return {name: torch.cat([part[name] for part in filled]) for name in parts[0]}
