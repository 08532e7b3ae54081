"""Files that are either whole or absent."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clme.errors import UserError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and takes its place.

    Raises:
        UserError: the folder can't be written, or the disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = None
    try:
        # The suffix is kept: some writers choose the format, or append a suffix, by it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it; one that is there already is kept.

    Raises:
        UserError: it can't be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file has its name" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(f"{folder}: the folder can't be made ({reason})") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        UserError: the file can't be read.
    """
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from error


def write_parquet(path: Path, frame: pd.DataFrame, *, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
    """Write `frame` with exactly the columns and types of `schema`, atomically.

    Args:
        metadata: provenance, stored under its keys in the file's own metadata.

    Raises:
        UserError: a column is missing or has values of another type; the path can't be written.
    """
    try:
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False, safe=True)
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise UserError(f"{path}: the rows don't fit its schema ({error})") from error
    kept = {key.encode(): value.encode() for key, value in metadata.items()}
    with atomic(path) as temporary:
        pq.write_table(table.replace_schema_metadata(kept), temporary)


def read_parquet(path: Path, *, schema: pa.Schema | None = None) -> pd.DataFrame:
    """Read a Parquet file; with `schema`, only its columns, and insist on their types.

    Raises:
        UserError: the file is missing, is no Parquet file, or lacks a column.
    """
    with _readable(path):
        names = pq.read_schema(path).names
        wanted = names if schema is None else [name for name in schema.names if name in names]
        table = pq.read_table(path, columns=wanted)
    if schema is not None:
        missing = [name for name in schema.names if name not in names]
        if missing:
            raise UserError(f"{path}: lacks the column(s) {', '.join(missing)}; it has {', '.join(names)}")
        try:
            table = table.select(schema.names).cast(schema)
        except (pa.ArrowException, ValueError) as error:
            raise UserError(f"{path}: a column has the wrong type or an empty value ({error})") from error
    return table.to_pandas()


def read_metadata(path: Path) -> dict[str, str]:
    """Return the provenance that `write_parquet` stored.

    Raises:
        UserError: the file is missing, or is no Parquet file.
    """
    with _readable(path):
        stored: dict[bytes, Any] = pq.read_schema(path).metadata or {}
    return {key.decode(): value.decode() for key, value in stored.items()}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say what is wrong with a Parquet file that is being read, and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the rule that makes it (`snakemake {path}`)") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: not a readable Parquet file ({error}); delete it and rerun its rule"
        ) from error
