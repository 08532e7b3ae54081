"""CSNE pairs out of Python modules: functions with docstrings, by CodeSearchNet's rules."""

import ast
import inspect
import io
import textwrap
import warnings
from collections.abc import Iterator

from clme.datasets.sources import Pair

MIN_DOCSTRING_WORDS = 3
MIN_CODE_LINES = 3


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
    lines = _lines(text)
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node, clean=True)
        if docstring is None or not _wanted(node, docstring):
            continue
        code = _source(node, lines, docstring_in_code)
        yield Pair(code, inspect.cleandoc(docstring).strip(), f"{origin}:{node.lineno}", split)


def _lines(text: str) -> list[str]:
    """Return the lines as Python counts them; `str.splitlines` splits at form feeds and more, too."""
    return list(io.StringIO(text, newline=None))


def without_docstring(code: str) -> str:
    """Cut the docstring out of a function's source; code that doesn't parse is returned as it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node = ast.parse(code).body[0]
    except (SyntaxError, ValueError, IndexError):
        return code
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or ast.get_docstring(node) is None:
        return code
    return _source(node, _lines(code), keep_docstring=False)


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
