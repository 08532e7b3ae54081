"""CNLE pairs from the mined part of CoNaLa, with the intents that were written anew for it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from clme.datasets import records
from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Access, Corpus, Material, Pair
from clme.models import hub

REPOSITORY = "codeparrot/conala-mined-curated@640452e3139b6b2f4fc517811d0d342877e0e6a0"


class Conala(Corpus):
    """594k pairs of intents and snippets from Stack Overflow (Yin et al., 2018)."""

    name = "conala"
    tasks = ("cnle",)

    def download(self, folder: Path, access: Access) -> None:
        """See the base class."""
        hub.fetch_dataset(REPOSITORY, access.lock, folder, _wanted)

    def pairs(self, folder: Path, settings: DatasetSettings) -> Iterator[Pair]:
        """See the base class."""
        for name, row in records.rows(folder, ("id", "intent", "rewritten_intent", "snippet")):
            intent = records.text(row, "rewritten_intent", "intent")
            yield Pair(intent, records.text(row, "snippet"), f"{name}:{row.get('id')}")

    def materials(self, folder: Path, settings: DatasetSettings) -> list[Material]:
        """See the base class."""
        return records.materials(folder, REPOSITORY, "MIT (CoNaLa); CC-BY-SA (Stack Overflow)")


def _wanted(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.endswith(".parquet"))
