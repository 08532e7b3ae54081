"""Where pairs come from: each source is a class behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clme.datasets.settings import DatasetSettings
from clme.errors import UserError


@dataclass(frozen=True)
class Pair:
    """What the model is asked, what it is to say, and where that comes from (see `schema.PAIRS`)."""

    input: str
    target: str
    origin: str
    split: str = ""


@dataclass(frozen=True)
class Material:
    """Something that a source is made of, as the card names it.

    Attributes:
        name: a package or dataset.
        pin: the version and checksum, or revision, that were read.
        license: as an SPDX name, or as the source's own page says.
    """

    name: str
    pin: str
    license: str


class Source(ABC):
    """A corpus of pairs.

    Attributes:
        name: what the config calls it.
        tasks: what it has pairs for: ``cnle``, ``csne``.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]

    @abstractmethod
    def download(self, folder: Path) -> None:
        """Bring the raw material into a folder; what is there already is checked and kept.

        Raises:
            UserError: it can't be had, or is not what was pinned.
        """

    @abstractmethod
    def pairs(self, folder: Path, settings: DatasetSettings) -> Iterator[Pair]:
        """Read all pairs of the settings' task, in a fixed order.

        Raises:
            UserError: the raw material is missing or damaged.
        """

    @abstractmethod
    def materials(self, settings: DatasetSettings) -> list[Material]:
        """Return what the settings' task is made of."""


def source(name: str) -> Source:
    """Return the source of a name.

    Raises:
        UserError: there is none.
    """
    from clme.datasets.pypi import Packages

    found: dict[str, Source] = {one.name: one for one in (Packages(),)}
    if name not in found:
        raise UserError(f"source {name!r}: there is none; allowed are {', '.join(found)}")
    return found[name]
