"""Finished parts of a long computation, as files outside of the outputs that Snakemake deletes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from clme.progress import Progress
from clme.tensors import read_tensors, write_tensors

Item = TypeVar("Item")


def in_parts(
    label: str,
    parts: Sequence[Sequence[Item]],
    folder: Path,
    compute: Callable[[Sequence[Item]], dict[str, Tensor]],
) -> list[dict[str, Tensor]]:
    """Compute the parts that the folder doesn't hold yet, and return all in order.

    Args:
        label: what the progress is called.
        parts: the same at every run for one folder.
        folder: holds a file for each finished part.
        compute: returns a part's tensors.

    Raises:
        UserError: the disk is full, or a part's file is damaged.
    """
    paths = [folder / f"part{number:06}.safetensors" for number in range(len(parts))]
    done = sum(len(part) for part, path in zip(parts, paths, strict=True) if path.exists())
    with Progress(label, sum(map(len, parts)), "case", done) as progress:
        for part, path in zip(parts, paths, strict=True):
            if not path.exists():
                write_tensors(path, compute(part), {})
                progress.advance(len(part))
    return [read_tensors(path) for path in paths]
