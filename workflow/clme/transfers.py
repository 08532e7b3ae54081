"""Files over HTTP: resumed where they broke off, tried again, checked, and whole or absent."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import requests
from filelock import FileLock

from clme.errors import UserError, first_line
from clme.files import make_folder
from clme.patience import Transient, asked_wait, patiently

Result = TypeVar("Result")

ATTEMPTS = 6
CHUNK = 1 << 20
TIMEOUT = (10, 60)
"""Seconds to wait for a connection, and for the next bytes."""


def fetch_json(url: str) -> object:
    """Return the JSON document at an address.

    Raises:
        UserError: there is none, or the server can't be reached.
    """

    def ask() -> object:
        with _get(url, {}) as answer:
            try:
                return json.loads(answer.content)
            except ValueError as error:
                raise Transient(f"the answer isn't JSON: {first_line(error)}") from error
            except requests.RequestException as error:
                raise Transient(first_line(error)) from error

    return _patiently(url, ask)


def fetch_file(url: str, path: Path, checksum: str) -> None:
    """Download a file; one that is there already and has the checksum is kept.

    What has arrived of an interrupted download is kept beside the file and continued. Several processes
    may ask for the same file.

    Args:
        url: its address.
        path: its place.
        checksum: ``sha256:...`` or ``md5:...``, in hexadecimal.

    Raises:
        UserError: it can't be had, is not what the checksum says, or can't be written.
    """
    make_folder(path.parent)
    part = path.with_name(f".{path.name}.part")
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists() and _digest(path, checksum) == checksum:
            return
        _patiently(url, lambda: _continue(url, part, checksum))
        part.replace(path)


def _continue(url: str, part: Path, checksum: str) -> None:
    """Bring the rest of a file, and check the whole."""
    try:
        have = part.stat().st_size if part.exists() else 0
        with _get(url, {"Range": f"bytes={have}-"} if have else {}) as answer:
            # A server that doesn't know ranges sends all; one that has no more is asked for all again.
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()
                raise Transient("the part that is here is longer than the file")
            resumed = answer.status_code == requests.codes.partial_content
            with part.open("ab" if resumed else "wb") as stream:
                for chunk in answer.iter_content(CHUNK):
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
        found = _digest(part, checksum)
    except OSError as error:
        if isinstance(error, requests.RequestException):
            raise Transient(first_line(error)) from error
        raise UserError(f"{part}: can't be written ({error.strerror or error})") from error
    if found != checksum:
        part.unlink()
        raise Transient(f"it has {found}, expected {checksum}: corrupt, or another file")


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    """Ask for an address; the answer is one that can be read, or that says that a range doesn't exist.

    The content comes as it is stored: a compressed transfer could not be resumed.
    """
    try:
        answer = requests.get(
            url, headers={"Accept-Encoding": "identity", **headers}, stream=True, timeout=TIMEOUT
        )
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Transient(first_line(error)) from error
    except requests.RequestException as error:
        raise UserError(f"{url}: {first_line(error)}") from error
    status = answer.status_code
    if status < 400 or status == requests.codes.requested_range_not_satisfiable:
        return answer
    answer.close()
    if status == requests.codes.too_many_requests or status >= 500:
        raise Transient(f"{status} {answer.reason}", asked_wait(answer.headers))
    raise UserError(f"{url}: the server answers {status} {answer.reason}; check the address")


def _patiently(url: str, call: Callable[[], Result]) -> Result:
    try:
        return patiently(call, ATTEMPTS)
    except Transient as error:
        raise UserError(f"{url}: could not be had in {ATTEMPTS} attempts ({error})") from error


def _digest(path: Path, checksum: str) -> str:
    """Return a file's checksum, of the kind of another one."""
    kind = checksum.partition(":")[0]
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"
