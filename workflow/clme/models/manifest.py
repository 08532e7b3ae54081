"""The manifest of a model folder: where it comes from, and the checksum of each file."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clme.errors import UserError
from clme.files import sha256_file, write_text

NAME = "manifest.json"


def write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    """Hash all files of a folder and write its manifest.

    Args:
        folder: the model folder.
        about: where it comes from and what it is.
    """
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    }
    write_text(folder / NAME, json.dumps({**about, "files": files}, indent=2) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / NAME
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for entry in manifest["files"].values():
            entry["sha256"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: no manifest ({error}); make the folder by `clme model fetch`") from error
    return manifest


def manifest_sha256(folder: Path) -> str:
    """Return one checksum over the names and checksums of all files that a manifest lists."""
    files = read_manifest(folder)["files"]
    text = json.dumps({name: entry["sha256"] for name, entry in files.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verify(folder: Path) -> int:
    """Check every file of a folder against its manifest; return how many there are.

    Raises:
        UserError: a file is missing or was changed.
    """
    files = read_manifest(folder)["files"]
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: is missing; delete {folder} and fetch it again")
        found = sha256_file(path)
        if found != entry["sha256"]:
            raise UserError(
                f"{path}: was changed (sha256 {found}, the manifest says {entry['sha256']}); fetch it again"
            )
    return len(files)
