"""CSNE pairs from CodeSearchNet's Python part: functions with their documentation."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from clme.datasets import records
from clme.datasets.functions import without_docstring
from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Access, Corpus, Material, Pair
from clme.errors import UserError
from clme.models import hub

REPOSITORY = "code-search-net/code_search_net"
_CODE = ("whole_func_string", "original_string", "func_code_string", "code")
_DOCUMENTATION = ("func_documentation_string", "docstring")
_ADDRESS = ("func_code_url", "url")
_SPLIT = ("split_name", "partition")
_SPLIT_OF_A_FILE = re.compile(r"(?<![a-z])(train|valid|validation|test)(?![a-z])")


class CodeSearchNet(Corpus):
    """Functions of public repositories (Husain et al., 2019); its test split is targeted.

    Both public layouts are read: the hub's Parquet files, and the original `jsonl.gz` files.
    """

    name = "codesearchnet"
    tasks = ("csne",)

    def download(self, folder: Path, access: Access) -> None:
        """See the base class."""
        hub.fetch_dataset(REPOSITORY, access.lock, folder, _wanted)

    def pairs(self, folder: Path, settings: DatasetSettings) -> Iterator[Pair]:
        """See the base class."""
        columns = ("language", *_CODE, *_DOCUMENTATION, *_ADDRESS, *_SPLIT)
        for name, row in records.rows(folder, columns):
            if row.get("language", "python") != "python":
                continue
            code = records.text(row, *_CODE)
            if not settings.docstring_in_code:
                code = without_docstring(code)
            split = "test" if _split(name, row) == "test" else "train"
            yield Pair(code, records.text(row, *_DOCUMENTATION), records.text(row, *_ADDRESS) or name, split)

    def materials(self, folder: Path, settings: DatasetSettings) -> list[Material]:
        """See the base class."""
        return records.materials(folder, REPOSITORY, "each repository's own")


def _wanted(names: Iterable[str]) -> list[str]:
    """Choose Python's Parquet files, or else the archive of the original files."""
    names = list(names)
    tables = sorted(name for name in names if re.search(r"(^|/)python/.*\.parquet$", name))
    archives = [name for name in names if name.endswith("/python.zip")]
    if not tables and not archives:
        raise UserError(
            f"hub:{REPOSITORY}: holds neither python/*.parquet nor python.zip; download CodeSearchNet by hand"
            " and name its folder in the dataset's `path`"
        )
    return tables or archives


def _split(name: str, row: dict[str, object]) -> str:
    """Return the split that a row belongs to, as it says itself or its file's path does."""
    said = records.text(row, *_SPLIT)
    found = _SPLIT_OF_A_FILE.findall(name)
    if not said and not found:
        raise UserError(f"{name}: neither its rows nor its path say which split (train, valid, test) it is")
    return said or found[-1]
