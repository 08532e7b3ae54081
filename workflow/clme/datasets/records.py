"""Rows of the public corpora's files: Parquet, and JSON lines, plain or compressed."""

import gzip
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from clme.datasets.sources import Material
from clme.errors import UserError, first_line
from clme.files import sha256_file

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".zip")
BATCH = 10_000


def files(folder: Path) -> list[Path]:
    """Return a folder's files of rows, at any depth, by path.

    Raises:
        UserError: there is none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(SUFFIXES)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise UserError(
            f"{folder}: holds no {', '.join(SUFFIXES)} file; give the folder of the source's files,"
            " or delete it to download them again"
        )
    return found


def rows(folder: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a folder's files, each with the path of its file.

    Args:
        folder: the source's folder.
        columns: what is read; a row may lack some of them, a file must have one.

    Raises:
        UserError: a file is damaged, isn't UTF-8, or has none of the columns.
    """
    for path in files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            yield from _rows_of(path, name, columns)
        except (pa.ArrowException, zipfile.BadZipFile, EOFError, gzip.BadGzipFile) as error:
            raise UserError(f"{path}: damaged ({first_line(error)}); delete it and rerun") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start} of a row)") from error


def materials(folder: Path, what: str, license_name: str) -> list[Material]:
    """Name the files of a folder, with their checksums, for the card."""
    return [
        Material(
            f"{what}: {path.relative_to(folder).as_posix()}", f"sha256 {sha256_file(path)}", license_name
        )
        for path in files(folder)
    ]


def _rows_of(path: Path, name: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if name.endswith(".parquet"):
        for row in _parquet(path, columns):
            yield name, row
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                if PurePosixPath(member).name.endswith((".jsonl", ".jsonl.gz")):
                    with archive.open(member) as stream:
                        for row in _lines(stream, f"{path}: {member}", columns):
                            yield f"{name}/{member}", row
    else:
        with path.open("rb") as stream:
            for row in _lines(stream, str(path), columns):
                yield name, row


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        if not there:
            raise UserError(
                f"{path}: has none of the columns {', '.join(columns)}, but"
                f" {', '.join(file.schema_arrow.names)}"
            )
        for batch in file.iter_batches(BATCH, columns=there):
            yield from batch.to_pylist()


def _lines(stream: IO[bytes], where: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    opened = gzip.GzipFile(fileobj=stream) if where.endswith(".gz") else stream
    for number, line in enumerate(opened, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            raise UserError(f"{where}: line {number} isn't JSON ({error}); the file is damaged") from error
        if not isinstance(row, Mapping) or not any(name in row for name in columns):
            raise UserError(f"{where}: line {number} has none of the fields {', '.join(columns)}")
        yield {name: row[name] for name in columns if name in row}


def text(row: Mapping[str, Any], *names: str) -> str:
    """Return the first of a row's fields that holds text, or an empty string."""
    found = (row.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value.strip()), "")
