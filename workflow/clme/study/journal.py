"""A job's journal: finished batches, outside of the outputs that Snakemake deletes when a job fails."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from clme.errors import UserError
from clme.files import make_folder


class Journal:
    """An append-only file of JSON records, one per line, each on disk before the next begins.

    The file's name holds a hash of all that determines the result: a rerun goes on with it, a changed
    setting starts another. A last line that was cut off by a kill is dropped. Only one process at a
    time has a journal open; a second one waits.

    Args:
        folder: where the job's journals are.
        identity: what determines the result.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = folder / f"{digest}.jsonl"
        self.records: dict[str, Any] = {}
        self._identity = identity
        self._lock = FileLock(folder / f"{digest}.lock")

    def __enter__(self) -> Self:
        make_folder(self.path.parent)
        try:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                print(f"{self.path}: another job writes it; waiting", file=sys.stderr, flush=True)
                self._lock.acquire()
            self._recover()
            self._stream = self.path.open("a", encoding="utf-8")
        except UserError:
            self._lock.release()
            raise
        except OSError as error:
            self._lock.release()
            raise UserError(
                f"{self.path}: the journal can't be written ({error.strerror or error})"
            ) from error
        if not self.records:
            self.write("identity", self._identity)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._lock.release()

    def _recover(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                self.records[record["key"]] = record["value"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self.path}: line {number} is damaged; delete this line"
                    " (what it held is computed again) and rerun"
                ) from error

    def write(self, key: str, value: Any) -> None:
        """Append a record and wait until it is on disk.

        Raises:
            UserError: the disk is full or the folder can't be written.
        """
        try:
            self._stream.write(json.dumps({"key": key, "value": value}) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path}: the journal can't be written ({error.strerror or error})"
            ) from error
        self.records[key] = value
