"""Pinned packages as archives of text: read, never installed."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clme.downloads import download_wheel
from clme.errors import UserError


@dataclass(frozen=True)
class Wheel:
    """A pinned package.

    Attributes:
        requirement: name and version, such as ``toolz==1.2.0``.
        sha256: the wheel's checksum.
        license: the package's, as an SPDX name.
    """

    requirement: str
    sha256: str
    license: str

    @property
    def package(self) -> str:
        """The package's name."""
        return self.requirement.partition("==")[0]


def files(folder: Path, wheel: Wheel, suffix: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of a wheel's files with a suffix, by name, but for those that aren't UTF-8.

    Raises:
        UserError: the wheel is missing or damaged.
    """
    path = download_wheel(wheel.requirement, wheel.sha256, folder)
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(suffix):
                    try:
                        yield name, archive.read(name).decode("utf-8")
                    except UnicodeDecodeError:
                        continue
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: damaged ({error}); delete it and rerun") from error
