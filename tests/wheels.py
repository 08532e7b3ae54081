"""Wheels that tests make and serve to pip from a folder, without a package index."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def build(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> str:
    """Write a wheel with these files into a folder; returns its sha256."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, content in {**files, **about}.items():
            archive.writestr(place, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()
