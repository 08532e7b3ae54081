"""CNLE pairs from the `actionsheets` package: hand-written "action -> Python snippet" cheat sheets."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clme.datasets.sources import Pair
from clme.errors import UserError

# What a sheet is about, as an object that a sentence can use; sheets that aren't named hold no Python.
OBJECTS = {
    "Dict": "a dict",
    "Iterators": "an iterator",
    "List": "a list",
    "Set": "a set",
    "Tuple": "a tuple",
    "Pytest": "a pytest test",
    "File system": "a file",
    "Path handling": "a path",
    "Matrices": "a NumPy matrix",
    "ND-arrays": "a NumPy array",
    "Scalars": "a NumPy scalar",
    "Vectors": "a NumPy vector",
    "Pandas DataFrame": "a pandas DataFrame",
    "Package": "a package",
    "Seaborn": "a seaborn plot",
    "Polars DataFrame": "a polars DataFrame",
    "Python": "a Python program",
    "Date": "a date",
    "Datetime": "a datetime",
    "Floats": "a float",
    "Integers": "an integer",
    "String": "a string",
    "Time": "a time",
}

_VERB_LIST = (
    "add append apply assert assign capitalize cast center change check clear clip combine "
    "compute concatenate convert copy count create cut declare decode define delete difference "
    "drop duplicate encode ensure enumerate exclude expand expect explode export extract fail "
    "fill filter find flatten format generate get group import increment insert iterate join keep "
    "limit list load log loop lookup make mask map melt merge move negate open order pad "
    "parameterize parse partition pivot plot prepend print query raise read reindex remove rename "
    "reorder repeat replace replicate reset reshape restore retrieve reverse rotate round run "
    "sample save scale select set shift show shuffle skip slice sort split squeeze stack start "
    "store strip subset subtract sum swap take test transform transpose trim truncate try unnest "
    "unpack unpivot update upgrade use wait write zip "
)
VERBS = frozenset(_VERB_LIST.split())
NOUNS_TOO = frozenset({"list", "set", "order", "sum", "count", "difference", "log", "mask", "sample"})
_CLAUSE = re.compile(r"(is|are|has|have|contains?|does|do|equals?|starts|ends|exists|inherits|matches|can)\b")
_INNER_CLAUSE = re.compile(r"\b(is|are|has|have|contains?|does|exists?|equals?|happens)\b")
_PLACEHOLDER = re.compile(r"(?<![\w`])_(\w+?)_(?![\w`])")
_ARTICLE = re.compile(r"(a|an|the|all|any|each|every|no|number|values?|elements?)\b")


def pairs(text: str, name: str) -> Iterator[Pair]:
    """Yield the entries of a sheet about Python; section and sheet title are worked into the intent.

    Args:
        text: the sheet, in TOML.
        name: its path, for the pairs' origin.

    Raises:
        UserError: the text isn't TOML.
    """
    try:
        sheet = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{name}: not TOML ({error}); the wheel is damaged: delete it and rerun") from error
    thing = OBJECTS.get(str(sheet.get("title")))
    if thing is not None:
        entries = [(key, part) for key, part in sheet.items() if isinstance(part, dict)]
        for key, part in entries:
            yield from _walk(part, "", thing, f"actionsheets:{Path(name).name}#{key}")


def _walk(node: dict[str, Any], section: str, thing: str, origin: str) -> Iterator[Pair]:
    """Yield the entries of a part of a sheet; the outermost section says what kind of action they are."""
    section = section or str(node.get("section", ""))
    action, code = node.get("action"), node.get("code")
    if isinstance(action, str) and isinstance(code, str) and action.strip():
        written = intent(section, action, thing)
        if written is not None:
            yield Pair(written, code.strip(), origin)
    for key, part in node.items():
        if isinstance(part, dict):
            yield from _walk(part, section, thing, f"{origin}.{key}")


def intent(section: str, action: str, thing: str) -> str | None:
    """Write the intent of an entry as an instruction that stands alone.

    Args:
        section: the outermost section's title, such as ``Test``.
        action: the entry's text, such as ``Contains value _v_``.
        thing: what the sheet is about, such as ``a tuple``.

    Returns:
        The instruction, such as "check whether a tuple contains value `v`"; None if none can be written.
    """
    text = _PLACEHOLDER.sub(r"`\1`", " ".join(action.split())).rstrip(". ")
    if not text[:2].isupper():
        text = text[0].lower() + text[1:]
    first = re.split(r"[^\w]", text, maxsplit=1)[0].lower()
    kind = section.lower()
    if kind == "test":
        return _test(text, thing)
    if first in VERBS and (first not in NOUNS_TOO or kind not in ("create", "convert", "extract")):
        return _within(text, thing)
    if kind == "create":
        return _create(text, first, thing)
    if kind == "convert":
        return f"convert {thing} {text}" if first in ("to", "from", "into") else f"convert {thing} to {text}"
    if kind == "constants":
        return f"get the constant for {text}"
    if kind in ("extract", "derive", "get", "query", "info"):
        wanted = f"get {text}" if _ARTICLE.match(text) else f"get the {text}"
        plain = re.search(r"\b(in|of|from|by|with|for|if)\b|,", text) is None
        return f"{wanted} of {thing}" if plain and not _mentions(text, thing) else _within(wanted, thing)
    return None


def _test(text: str, thing: str) -> str:
    if _CLAUSE.match(text):
        return f"check whether {thing} {text}"
    if _INNER_CLAUSE.search(text):
        return f"check whether {text}" if _mentions(text, thing) else f"check whether {text} in {thing}"
    if re.match(r"(all|any|no|none|some|only)\b", text):
        return f"check whether {text} in {thing}"
    return f"check whether {thing} is {text}"


def _create(text: str, first: str, thing: str) -> str:
    if first in ("from", "with", "by", "using", "via", "as", "of", "for"):
        return f"create {thing} {text}"
    if _mentions(text, thing):
        article = "" if _ARTICLE.match(text) else "an " if text[0] in "aeiou" else "a "
        return f"create {article}{text}"
    return f"create {thing} of {text}"


def _within(text: str, thing: str) -> str:
    """Say what an instruction is about, unless it does so itself."""
    return text if _mentions(text, thing) else f"{text} in {thing}"


def _mentions(text: str, thing: str) -> bool:
    noun = thing.split()[-1].lower()
    return re.search(rf"\b{re.escape(noun)}s?\b", text.lower()) is not None
