"""CSNE pairs from pinned pure-Python packages: functions with docstrings, by CodeSearchNet's rules."""

import ast
import inspect
import re
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Pair, Source, Wheel

# CodeSearchNet splits by repository; these packages are its test split here.
TEST_PACKAGES = frozenset({"boltons", "flask", "requests"})

MIN_DOCSTRING_WORDS = 3
MIN_CODE_LINES = 3


class Functions(Source):
    """Functions and methods of twelve packages; whole packages make the test split."""

    name = "wheels"
    task = "csne"
    wheels = (
        Wheel(
            "boltons==26.2.0",
            "41942cbce440211bbcf2487ccdc356964ad674f95a01068b8a0dd7a1d1fed036",
            "BSD-3-Clause",
        ),
        Wheel(
            "click==8.5.1", "8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37", "BSD-3-Clause"
        ),
        Wheel(
            "flask==3.1.3", "f4bcbefc124291925f1a26446da31a5178f9483862233b23c0c96a20701f670c", "BSD-3-Clause"
        ),
        Wheel(
            "funcy==2.1", "290794186530c944f7e444d2e28b98f33a55685f2bfb9b7a61dac564decab8f8", "BSD-3-Clause"
        ),
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
        Wheel(
            "toolz==1.2.0", "890f820b1cb8152785aaf9386d8707770110809035800985ca65cb24ce1120ef", "BSD-3-Clause"
        ),
        Wheel(
            "werkzeug==3.1.9",
            "6392e50c78460ba618e5b21f08a71f59c99ce99cdc6cf6e3dd7e6ccca8754fab",
            "BSD-3-Clause",
        ),
    )

    def pairs(self, folder: Path, settings: DatasetSettings) -> Iterator[Pair]:
        """See the base class."""
        for wheel in self.wheels:
            split = "test" if wheel.package in TEST_PACKAGES else "train"
            for name, text in self.files(folder, wheel, ".py"):
                if not _is_test(name):
                    yield from functions(
                        text, f"{wheel.requirement}:{name}", split, settings.docstring_in_code
                    )


def _is_test(name: str) -> bool:
    return re.search(r"(^|/)(tests?/|test_|conftest)", name) is not None


def functions(text: str, origin: str, split: str, docstring_in_code: bool) -> Iterator[Pair]:
    """Yield the functions of a module with their docstrings.

    CodeSearchNet's rules (Husain et al., 2019, Section 2): documented by three words or more, three lines
    of code or more besides, no tests, no special methods. A module that doesn't parse has none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    lines = text.splitlines(keepends=True)
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node, clean=True)
        if docstring is None or not _wanted(node, docstring):
            continue
        code = _source(node, lines, docstring_in_code)
        yield Pair(code, inspect.cleandoc(docstring).strip(), f"{origin}:{node.lineno}", split)


def _wanted(node: ast.FunctionDef | ast.AsyncFunctionDef, docstring: str) -> bool:
    special = node.name.startswith("__") and node.name.endswith("__")
    body = node.body[1:]
    lines = body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0
    return (
        not special
        and "test" not in node.name.lower()
        and len(docstring.split()) >= MIN_DOCSTRING_WORDS
        and 1 + lines >= MIN_CODE_LINES
    )


def _source(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str], keep_docstring: bool) -> str:
    """Cut a function out of its module, with its decorators."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    kept = list(range(first - 1, node.end_lineno or first))
    if not keep_docstring:
        docstring = node.body[0]
        kept = [n for n in kept if not docstring.lineno - 1 <= n < (docstring.end_lineno or docstring.lineno)]
    return textwrap.dedent("".join(lines[number] for number in kept)).strip()
