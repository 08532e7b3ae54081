"""Where pairs come from: each source is a class behind one interface."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clme.datasets.settings import DatasetSettings


@dataclass(frozen=True)
class Access:
    """How raw material is had.

    Attributes:
        lock: file of the revisions and checksums that were seen first.
        zenodo: address of Zenodo, or of a mirror with its layout.
    """

    lock: Path
    zenodo: str


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
        name: a package, a dataset, or a file of one.
        pin: the checksum and, where there is one, the revision that was read.
        license: as an SPDX name, or in words.
    """

    name: str
    pin: str
    license: str


def materials_as_json(materials: Sequence[Material]) -> str:
    """Return materials as a file's metadata has them."""
    return json.dumps([vars(material) for material in materials])


class Source(ABC):
    """Raw material of a dataset.

    Attributes:
        name: what the config calls it.
        tasks: what it is for: ``cnle``, ``csne``.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]

    @abstractmethod
    def download(self, folder: Path, access: Access) -> None:
        """Bring the raw material into a folder; what is there already is checked and kept.

        Raises:
            UserError: it can't be had, or is not what was pinned.
        """

    @abstractmethod
    def materials(self, folder: Path, settings: DatasetSettings) -> list[Material]:
        """Return what a folder holds for the settings' task."""


class Corpus(Source):
    """A source of pairs, out of which a dataset is built."""

    @abstractmethod
    def pairs(self, folder: Path, settings: DatasetSettings) -> Iterator[Pair]:
        """Read all pairs of the settings' task, in a fixed order.

        Raises:
            UserError: the raw material is missing or damaged.
        """


def source(name: str) -> Source:
    """Return the source of a name that `DatasetSettings` allows."""
    from clme.datasets.codesearchnet import CodeSearchNet
    from clme.datasets.conala import Conala
    from clme.datasets.pypi import Packages
    from clme.datasets.released import Released

    found: dict[str, Source] = {one.name: one for one in (Packages(), Conala(), CodeSearchNet(), Released())}
    return found[name]
