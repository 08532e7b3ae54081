"""Models from the hub: revision and checksums are resolved at the first download, and verified ever after."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from clme.errors import UserError
from clme.files import sha256_file, write_text
from clme.progress import Progress

Result = TypeVar("Result")

ATTEMPTS = 6
WANTED = (".safetensors", ".json", ".model", ".txt", ".jinja")
_FINAL = (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError, EntryNotFoundError)


def fetch(source: str, lock: Path, folder: Path) -> str:
    """Download a repository's safetensors, configuration and tokenizer; never its code.

    Args:
        source: ``owner/name`` or ``owner/name@revision``.
        lock: JSON file that holds the resolved revision and checksums of each source; extended at a
            source's first download, obeyed afterwards.
        folder: where the files go; what is there of an interrupted download is used.

    Returns:
        The commit that the files are from.

    Raises:
        UserError: the repository can't be had, holds no safetensors, or a file is not as in the lock.
    """
    repository, _, revision = source.partition("@")
    known = read_lock(lock).get(source)
    try:
        if known is None:
            info = _patiently(lambda: HfApi().model_info(repository, revision=revision or None))
            commit, names = str(info.sha), [str(file.rfilename) for file in info.siblings or []]
        else:
            commit, names = known["revision"], list(known["files"])
        wanted = _wanted(source, names)
        with Progress(f"hub:{source}", len(wanted), "file") as progress:
            for name in wanted:
                _patiently(partial(hf_hub_download, repository, name, revision=commit, local_dir=folder))
                progress.advance()
    except _FINAL as error:
        raise UserError(f"hub:{source}: {_reason(error)}") from error
    except (HfHubHTTPError, OSError) as error:
        raise UserError(
            f"hub:{source}: could not be downloaded in {ATTEMPTS} attempts ({_reason(error)})"
        ) from error
    files = {name: sha256_file(folder / name) for name in wanted}
    if known is None:
        _record(lock, source, {"revision": commit, "files": files})
    else:
        _compare(source, files, known["files"])
    return commit


def read_lock(lock: Path) -> dict[str, Any]:
    """Read the lock file; a missing one is empty."""
    if not lock.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(lock.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{lock}: not JSON ({error}); restore it from version control") from error
    return content


def _record(lock: Path, source: str, entry: dict[str, Any]) -> None:
    """Add an entry; other downloads may be doing the same."""
    with FileLock(lock.with_name(f".{lock.name}.lock")):
        content = {**read_lock(lock), source: entry}
        write_text(lock, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _compare(source: str, found: dict[str, str], expected: dict[str, str]) -> None:
    for name, checksum in expected.items():
        if found[name] != checksum:
            raise UserError(
                f"hub:{source}: {name} has sha256 {found[name]}, the lock says {checksum};"
                " the download is corrupt or the repository was changed"
            )


def _wanted(source: str, names: list[str]) -> list[str]:
    if not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"hub:{source}: holds no safetensors; formats that can run code are not loaded")
    return sorted(name for name in names if "/" not in name and name.endswith(WANTED))


def _patiently(call: Callable[[], Result]) -> Result:
    """Call again, after longer and longer pauses, on failures that may pass."""
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.5, max=60),
        reraise=True,
    )
    return retrying(call)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, _FINAL):
        return False
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 503
        return status == 429 or status >= 500
    return isinstance(error, (OSError, ConnectionError, TimeoutError)) or "httpx" in type(error).__module__


def _reason(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
