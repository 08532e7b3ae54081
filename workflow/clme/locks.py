"""The lock file of downloads: what a source was at its first download, and must be ever after."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from clme.errors import UserError
from clme.files import write_text


def read_lock(lock: Path) -> dict[str, Any]:
    """Read the lock file; a missing one is empty.

    Returns:
        For each source its ``revision`` and ``files``, the sha256 of each.

    Raises:
        UserError: the file is not JSON.
    """
    if not lock.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(lock.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{lock}: not JSON ({error}); restore it from version control") from error
    return content


def record(lock: Path, source: str, revision: str, files: Mapping[str, str]) -> None:
    """Add a source; other downloads may be doing the same."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock.with_name(f".{lock.name}.lock")):
        content = {**read_lock(lock), source: {"revision": revision, "files": dict(files)}}
        write_text(lock, json.dumps(content, indent=2, sort_keys=True) + "\n")
