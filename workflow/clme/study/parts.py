"""Finished parts of a long computation, as files outside of the outputs that Snakemake deletes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from clme.errors import UserError
from clme.progress import Progress
from clme.stopping import Turns
from clme.study.batches import unless_out_of_memory
from clme.tensors import read_tensors, write_tensors

Item = TypeVar("Item")


def in_parts(
    label: str,
    parts: Sequence[Sequence[Item]],
    folder: Path,
    compute: Callable[[Sequence[Item]], dict[str, Tensor]],
    unit: str = "case",
    first: int = 0,
) -> list[dict[str, Tensor]]:
    """Compute the parts that the folder doesn't hold yet, and return all in order.

    Args:
        label: what the progress is called.
        parts: with their numbers the same at every run for one folder.
        folder: holds a file for each finished part.
        compute: returns a part's tensors; where memory runs out, those of its halves are put together.
        unit: what an item is called.
        first: the number of the first part; those before and after these belong to other jobs.

    Raises:
        UserError: the disk is full, a part's file is damaged, or memory doesn't suffice for a single item.
        Stopped: a signal arrived, or the job's time ends; the folder holds the finished parts.
    """
    paths = [folder / f"part{number:06}.safetensors" for number in range(first, first + len(parts))]
    done = sum(len(part) for part, path in zip(parts, paths, strict=True) if path.exists())
    turns = Turns()
    with Progress(label, sum(map(len, parts)), unit, done) as progress:
        for part, path in zip(parts, paths, strict=True):
            if not path.exists():
                turns.next(progress.standing)
                write_tensors(path, _in_memory(part, compute), {})
                progress.advance(len(part))
    return [read_tensors(path) for path in paths]


def _in_memory(
    part: Sequence[Item], compute: Callable[[Sequence[Item]], dict[str, Tensor]]
) -> dict[str, Tensor]:
    found = unless_out_of_memory(lambda: compute(part))
    if found is not None:
        return found
    if len(part) == 1:
        raise UserError("memory doesn't suffice for a single item; take a larger device")
    middle = len(part) // 2
    halves = [_in_memory(half, compute) for half in (part[:middle], part[middle:])]
    return {name: torch.cat([half[name] for half in halves]) for name in halves[0]}
