"""General texts for second moments: Wikipedia from the hub, or the source code of pinned packages."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clme.datasets.pypi import LIBRARIES, TEST_PACKAGES, is_test
from clme.datasets.wheels import files
from clme.errors import UserError
from clme.files import write_parquet
from clme.models import hub
from clme.randomness import generator

PACKAGES = "packages"
PIECE = 2000
"""Characters of a piece of source code, cut at a line's end."""

TEXTS = pa.schema([pa.field("text", pa.string(), nullable=False)])


def run(corpus: str, folder: Path, lock: Path, samples: int, seed: int, output: Path) -> None:
    """Write a random choice of a corpus's texts, in random order, as Parquet.

    Args:
        corpus: ``packages``, or Parquet files with a column ``text``: ``hub:OWNER/NAME[/FOLDER][@REVISION]``
            or ``path:FOLDER``.
        folder: where the corpus's raw material is kept: the wheels, or what comes from the hub.
        lock: lock file of the hub's revisions.
        samples: how many; all if the corpus has no more.
        seed: the study's.
        output: where the texts go.

    Raises:
        UserError: the corpus can't be had, is damaged, or has no column ``text``.
    """
    about = {"corpus": corpus, "seed": str(seed)}
    random = generator(seed, "texts", corpus)
    if corpus == PACKAGES:
        pieces = list(_pieces(folder))
        kept = [pieces[number] for number in random.permutation(len(pieces))[:samples]]
    else:
        scheme, _, where = corpus.partition(":")
        place = Path(where)
        if scheme == "hub":
            place = folder / re.sub(r"[^\w.-]+", "--", where)
            about["revision"] = hub.fetch_parquet(where, lock, place)
        shards = _shards(place)
        total = sum(shard.metadata.num_rows for shard in shards)
        kept = _rows(shards, random.permutation(total)[:samples])
    write_parquet(output, pd.DataFrame({"text": kept}), schema=TEXTS, metadata=about)


def _pieces(folder: Path) -> Iterator[str]:
    """Yield the source code of the packages that no targeted pair comes from, in pieces."""
    for wheel in LIBRARIES:
        if wheel.package in TEST_PACKAGES:
            continue
        for name, text in files(folder, wheel, ".py"):
            if not is_test(name):
                yield from cut(text)


def cut(text: str) -> Iterator[str]:
    """Cut a text at line ends into pieces of `PIECE` characters or a line more; empty ones are left out."""
    piece = ""
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= PIECE:
            yield piece
            piece = ""
    if piece.strip():
        yield piece


def _shards(folder: Path) -> list[pq.ParquetFile]:
    paths = sorted(path for path in folder.rglob("*.parquet") if ".cache" not in path.parts)
    if not paths:
        raise UserError(f"{folder}: holds no Parquet files; `moments.corpus` is to name a folder with texts")
    shards = []
    for path in paths:
        try:
            shard = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path}: not a readable Parquet file ({error}); delete it and rerun") from error
        if "text" not in shard.schema_arrow.names:
            raise UserError(f"{path}: has no column `text`, but {', '.join(shard.schema_arrow.names)}")
        shards.append(shard)
    return shards


def _rows(shards: list[pq.ParquetFile], chosen: np.ndarray) -> list[str]:
    """Read the rows of these numbers, counted through all shards; each row group is read once at most."""
    order = np.argsort(chosen, kind="stable")
    wanted = chosen[order]
    found: list[str] = []
    start = 0
    for shard in shards:
        for number in range(shard.num_row_groups):
            stop = start + shard.metadata.row_group(number).num_rows
            here = wanted[(wanted >= start) & (wanted < stop)] - start
            if len(here):
                column = shard.read_row_group(number, columns=["text"]).column("text")
                found += column.take(pa.array(here)).to_pylist()
            start = stop
    texts = [""] * len(found)
    for place, text in zip(order, found, strict=True):
        texts[place] = text
    return texts
