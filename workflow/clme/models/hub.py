"""Files from the hub: revision and checksums are resolved at the first download, and verified ever after."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tenacity import RetryError, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from clme.errors import UserError, first_line
from clme.files import sha256_file
from clme.locks import read_lock, record
from clme.progress import Progress

Result = TypeVar("Result")

ATTEMPTS = 6
WANTED = (".safetensors", ".json", ".model", ".txt", ".jinja")
_FINAL = (
    RepositoryNotFoundError,
    RevisionNotFoundError,
    GatedRepoError,
    RemoteEntryNotFoundError,
    OfflineModeIsEnabled,
)


def fetch(source: str, lock: Path, folder: Path) -> str:
    """Download a model's safetensors, configuration and tokenizer; never its code.

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
    return _download("model", source, source, lock, folder, partial(_of_a_model, source))


def fetch_dataset(source: str, lock: Path, folder: Path, wanted: Callable[[Iterable[str]], list[str]]) -> str:
    """Download files of a dataset's repository, like `fetch`.

    Args:
        source: ``owner/name`` or ``owner/name@revision``.
        lock: as for `fetch`; datasets are under ``datasets/owner/name``.
        folder: where the files go, under their paths in the repository.
        wanted: chooses among the paths of the repository's files.

    Returns:
        The commit that the files are from.

    Raises:
        UserError: the repository or a file can't be had, or a file is not as in the lock.
    """
    return _download("dataset", source, f"datasets/{source}", lock, folder, wanted)


def fetch_parquet(source: str, lock: Path, folder: Path) -> str:
    """Download the Parquet files of a dataset or of a folder in it; never its code.

    Args:
        source: ``owner/name`` or ``owner/name/folder``, with or without ``@revision``.
        lock: as for `fetch`; the entry is named ``datasets/`` and the source.
        folder: where the files go, in folders as in the repository; what is there of an interrupted
            download is used.

    Returns:
        The commit that the files are from.

    Raises:
        UserError: the repository can't be had, holds no such files, or a file is not as in the lock.
    """
    path, at, revision = source.partition("@")
    owner, name, *inner = path.split("/")
    prefix = "".join(f"{part}/" for part in inner)

    def wanted(names: Iterable[str]) -> list[str]:
        found = sorted(file for file in names if file.startswith(prefix) and file.endswith(".parquet"))
        if not found:
            raise UserError(f"hub:{source}: holds no Parquet files in {prefix or 'any folder'}")
        return found

    return _download("dataset", f"{owner}/{name}{at}{revision}", f"datasets/{source}", lock, folder, wanted)


def _download(
    kind: Literal["model", "dataset"],
    source: str,
    entry: str,
    lock: Path,
    folder: Path,
    choose: Callable[[Iterable[str]], list[str]],
) -> str:
    repository, _, revision = source.partition("@")
    known = read_lock(lock).get(entry)
    try:
        if known is None:
            commit, told = _ask(kind, repository, revision)
        else:
            commit, told = known["revision"], known["files"]
        wanted = choose(told)
        with Progress(f"hub:{source}", len(wanted), "file") as progress:
            for name in wanted:
                about = {"repo_type": kind, "revision": commit, "local_dir": folder}
                _patiently(partial(hf_hub_download, repository, name, **about))
                progress.advance()
    except RetryError as error:
        last = error.last_attempt.exception() or error
        reason = first_line(last.__cause__ or last)
        raise UserError(f"hub:{source}: could not be downloaded in {ATTEMPTS} attempts ({reason})") from last
    except (*_FINAL, HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(f"hub:{source}: {first_line(error.__cause__ or error)}") from error
    files = {name: sha256_file(folder / name) for name in wanted}
    _compare(source, folder, files, told)
    if known is None:
        record(lock, entry, commit, files)
    return commit


def _ask(
    kind: Literal["model", "dataset"], repository: str, revision: str
) -> tuple[str, dict[str, str | None]]:
    """Return the commit of a revision and its files; the hub tells the sha256 of large ones."""
    api = HfApi()
    ask = api.model_info if kind == "model" else api.dataset_info
    info = _patiently(lambda: ask(repository, revision=revision or None, files_metadata=True))
    told = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in info.siblings or []}
    return str(info.sha), told


def _compare(source: str, folder: Path, found: Mapping[str, str], expected: Mapping[str, str | None]) -> None:
    for name, checksum in found.items():
        if expected[name] not in (None, checksum):
            (folder / name).unlink()  # else it would be taken for downloaded the next time
            raise UserError(
                f"hub:{source}: {name} has sha256 {checksum}, expected {expected[name]};"
                " the download is corrupt or the repository was changed: try again"
            )


def _of_a_model(source: str, names: Iterable[str]) -> list[str]:
    wanted = sorted(name for name in names if "/" not in name and name.endswith(WANTED))
    if not any(name.endswith(".safetensors") for name in wanted):
        raise UserError(f"hub:{source}: holds no safetensors; formats that can run code are not loaded")
    return wanted


def _patiently(call: Callable[[], Result]) -> Result:
    """Call again, after longer and longer pauses, on failures that may pass.

    Raises:
        RetryError: the last attempt failed too.
    """
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.5, max=60),
    )
    return retrying(call)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, _FINAL) or isinstance(error.__cause__, _FINAL):
        return False
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 503
        return status == 429 or status >= 500
    if isinstance(error, OSError):
        # One without a number is the library's own, such as a file that came out too short.
        return error.errno is None or isinstance(error, ConnectionError | TimeoutError)
    return "httpx" in type(error).__module__
