"""The offline corpora: cheat sheets and pure-Python packages from the package index, pinned by sha256."""

import re
from collections.abc import Iterator
from pathlib import Path

from clme.datasets import actionsheets, functions, oneliners
from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Access, Corpus, Material, Pair
from clme.datasets.wheels import Wheel, files
from clme.downloads import download_wheel
from clme.progress import Progress

SHEETS = Wheel(
    "actionsheets==0.3.0", "8f2582fc33f5bdd6c3f6c083733d667fff56be57b195ff26a0a82303aa81002a", "MIT"
)
LIBRARIES = (
    Wheel(
        "boltons==26.2.0",
        "41942cbce440211bbcf2487ccdc356964ad674f95a01068b8a0dd7a1d1fed036",
        "BSD-3-Clause",
    ),
    Wheel("click==8.5.1", "8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37", "BSD-3-Clause"),
    Wheel("flask==3.1.3", "f4bcbefc124291925f1a26446da31a5178f9483862233b23c0c96a20701f670c", "BSD-3-Clause"),
    Wheel("funcy==2.1", "290794186530c944f7e444d2e28b98f33a55685f2bfb9b7a61dac564decab8f8", "BSD-3-Clause"),
    Wheel(
        "jinja2==3.1.6",
        "85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67",
        "BSD-3-Clause",
    ),
    Wheel(
        "more-itertools==11.2.1",
        "35a7377edd1dd6608dcb2cdf534ded55ea32d49448875ad042cd3f879fb1ded0",
        "MIT",
    ),
    Wheel(
        "networkx==3.6.1",
        "d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762",
        "BSD-3-Clause",
    ),
    Wheel("pydash==8.1.0", "61df790f303288df7da3a766c3ca6ea5a8f3ec882b28712bac8d13573dbaba97", "MIT"),
    Wheel(
        "requests==2.34.2",
        "2a0d60c172f83ac6ab31e4554906c0f3b3588d37b5cb939b1c061f4907e278e0",
        "Apache-2.0",
    ),
    Wheel("rich==15.0.0", "33bd4ef74232fb73fe9279a257718407f169c09b78a87ad3d296f548e27de0bb", "MIT"),
    Wheel("toolz==1.2.0", "890f820b1cb8152785aaf9386d8707770110809035800985ca65cb24ce1120ef", "BSD-3-Clause"),
    Wheel(
        "werkzeug==3.1.9",
        "6392e50c78460ba618e5b21f08a71f59c99ce99cdc6cf6e3dd7e6ccca8754fab",
        "BSD-3-Clause",
    ),
)

# CodeSearchNet splits by repository; these packages are its test split here.
TEST_PACKAGES = frozenset({"boltons", "flask", "requests"})


class Packages(Corpus):
    """CNLE: cheat sheets and commented code; CSNE: functions with docstrings, whole packages as test."""

    name = "pypi"
    tasks = ("cnle", "csne")
    wheels = (SHEETS, *LIBRARIES)

    def download(self, folder: Path, access: Access) -> None:
        """See the base class."""
        with Progress(f"corpus {self.name}", len(self.wheels), "package") as progress:
            for wheel in self.wheels:
                download_wheel(wheel.requirement, wheel.sha256, folder)
                progress.advance()

    def pairs(self, folder: Path, settings: DatasetSettings) -> Iterator[Pair]:
        """See the base class."""
        return self._intents(folder) if settings.task == "cnle" else self._functions(folder, settings)

    def materials(self, folder: Path, settings: DatasetSettings) -> list[Material]:
        """See the base class."""
        used = self.wheels if settings.task == "cnle" else LIBRARIES
        return [Material(wheel.requirement, f"sha256 {wheel.sha256}", wheel.license) for wheel in used]

    def _intents(self, folder: Path) -> Iterator[Pair]:
        for name, text in files(folder, SHEETS, ".toml"):
            if "/data/python/" in name:
                yield from actionsheets.pairs(text, name)
        for _, origin, text in self._modules(folder):
            yield from oneliners.pairs(text, origin)

    def _functions(self, folder: Path, settings: DatasetSettings) -> Iterator[Pair]:
        for wheel, origin, text in self._modules(folder):
            split = "test" if wheel.package in TEST_PACKAGES else "train"
            yield from functions.functions(text, origin, split, settings.docstring_in_code)

    def _modules(self, folder: Path) -> Iterator[tuple[Wheel, str, str]]:
        for wheel in LIBRARIES:
            for name, text in files(folder, wheel, ".py"):
                if not is_test(name):
                    yield wheel, f"{wheel.requirement}:{name}", text


def is_test(name: str) -> bool:
    """Whether a file's name is that of a test."""
    return re.search(r"(^|/)(tests?/|test_|conftest)", name) is not None
