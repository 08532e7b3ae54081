"""A job's journal: finished batches, outside of the outputs that Snakemake deletes when a job fails."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from clme.errors import UserError
from clme.leases import Lease


class Journal:
    """JSON records, one per line, each on disk before the next begins.

    The files' names begin with a hash of all that determines the result: a rerun goes on with them, a changed
    setting starts others. Each process appends to a file of its own, and reads those of the ones before it:
    even of two that live, because one was cut off and taken for dead, none damages what the other writes. Of
    records with one key the latest owner's counts. A last line that was cut off by a kill is dropped.

    Only one process at a time has a journal open; another one waits, or takes over from one that is dead.

    Args:
        folder: where the job's journals are.
        identity: what determines the result.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self._folder, self._digest = folder, hashlib.sha256(text.encode()).hexdigest()[:16]
        self.records: dict[str, Any] = {}
        self._identity = identity
        self._lease = Lease(folder, self._digest)
        self._stream: TextIO | None = None

    @property
    def path(self) -> Path:
        """This process's own file; there is none before the first record."""
        return self._folder / f"{self._digest}.{self._lease.number:06}.{self._lease.token}.jsonl"

    def __enter__(self) -> Self:
        self._lease.__enter__()
        try:
            for path in sorted(self._folder.glob(f"{self._digest}.*.jsonl")):
                self.records.update(_read(path))
            if not self.records:
                self.write("identity", self._identity)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        self._lease.__exit__(kind, error, trace)

    def write(self, key: str, value: Any) -> None:
        """Append a record and wait until it is on disk.

        Raises:
            UserError: the disk is full or the folder can't be written; or another process has taken over, and
                the record is kept for it.
        """
        try:
            if self._stream is None:
                self._stream = self.path.open("a", encoding="utf-8")
            self._stream.write(json.dumps({"key": key, "value": value}) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path}: the journal can't be written ({error.strerror or error})"
            ) from error
        self.records[key] = value
        self._lease.check()

    def check(self) -> None:
        """Make sure, before the job's output is written, that no other process has taken over.

        Raises:
            UserError: one has.
        """
        self._lease.check()


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield a file's keys and values.

    Raises:
        UserError: it can't be read, or a line other than the last is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the journal can't be read ({error.strerror or error})") from error
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            record = json.loads(line)
            yield record["key"], record["value"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: line {number} is damaged; delete this line"
                " (what it held is computed again) and rerun"
            ) from error
