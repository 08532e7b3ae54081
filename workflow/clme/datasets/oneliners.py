"""CNLE pairs out of Python modules: comments above a lone statement, functions of a single `return`.

The cheat sheets' snippets are short; these are as long as those of CoNaLa.
"""

import ast
import io
import re
import textwrap
import tokenize
import warnings
from collections.abc import Iterator, Sequence

from clme.datasets.actionsheets import NOUNS_TOO, VERBS
from clme.datasets.sources import Pair

MIN_WORDS, MAX_WORDS = 4, 30
MAX_LINES = 8

_VERB_LIST = (
    "adjust allow avoid build call calculate collect compare complete construct copy deal determine dispatch "
    "escape evaluate execute fetch fix handle ignore initialize invoke look normalize obtain parse patch pop "
    "populate prepare prevent print process push record register render rescale resolve return rewrite "
    "search send setup sort span split strip switch traverse treat turn unquote validate verify walk wrap "
    "yield"
)
_MORE_VERBS = frozenset(_VERB_LIST.split())
_LONE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.Delete, ast.Assert, ast.Raise)
# Notes to developers, links, references and code that was commented out say nothing of the statement below.
_NO_INTENT = re.compile(
    r"todo|fixme|xxx|hack|noqa|type:|pragma|pylint|https?:|\bissue\b|#\d|>>>|[=({\[]\s*$", re.IGNORECASE
)
_ROLE = re.compile(r":\w+:`[~!]?")
_WORD = re.compile(r"[a-z]{3,}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_COMMON_LIST = (
    "all and any are can for from get has have into its not one our out set that the their them then there "
    "this use was when will with you self def return"
)
_COMMON = frozenset(_COMMON_LIST.split())


def pairs(text: str, origin: str) -> Iterator[Pair]:
    """Yield the pairs of a module; one that doesn't parse has none.

    Args:
        text: the module's source.
        origin: where it is from; line numbers are added.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
        comments = _comments(text)
    except (SyntaxError, ValueError, tokenize.TokenError):
        return
    lines = list(io.StringIO(text, newline=None))
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            yield from _single_return(node, lines, origin)
        for block in _blocks(node):
            yield from _commented(block, comments, lines, origin)


def intent(text: str) -> str | None:
    """Return a comment or a docstring's first sentence as an instruction, or None if it isn't one.

    An instruction starts with a verb: "Returns the sum." gives "return the sum".
    """
    paragraph = _ROLE.sub("`", " ".join(text.strip().split("\n\n")[0].split())).replace("``", "`")
    sentence = re.split(r"(?<=\w[\w)`'\"])[.;](?:\s|$)", paragraph)[0].rstrip(":. ")
    first, _, rest = sentence.partition(" ")
    verb = _imperative(first.lower())
    if verb in NOUNS_TOO and rest.startswith("of "):
        return None
    if verb is None or _NO_INTENT.search(sentence) or not MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
        return None
    return f"{verb} {rest}"


def _imperative(word: str) -> str | None:
    for stem in (word, word.removesuffix("s"), word.removesuffix("es")):
        if stem in VERBS or stem in _MORE_VERBS:
            return stem
    return None


def _comments(text: str) -> dict[int, str]:
    """Return the text of each comment that has a line of its own, by line."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
        if token.type == tokenize.COMMENT and token.line.strip() == token.string:
            found[token.start[0]] = token.string.lstrip("#: ").rstrip()
    return found


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


def _commented(
    block: Sequence[ast.stmt], comments: dict[int, str], lines: Sequence[str], origin: str
) -> Iterator[Pair]:
    """Yield the statements of a block that a comment is about, and nothing but them."""
    for number, statement in enumerate(block):
        above = statement.lineno - 1
        if not isinstance(statement, _LONE) or above not in comments:
            continue
        first = above
        while first - 1 in comments:
            first -= 1
        last = statement.end_lineno or statement.lineno
        if number + 1 < len(block) and last + 1 == block[number + 1].lineno:
            continue  # the comment may be about the next statement, too
        written = intent(" ".join(comments[line] for line in range(first, above + 1)))
        yield from _pair(written, lines[statement.lineno - 1 : last], f"{origin}:{statement.lineno}")


def _single_return(node: ast.FunctionDef, lines: Sequence[str], origin: str) -> Iterator[Pair]:
    """Yield a function, without its docstring, of which nothing else is left than one `return`."""
    docstring = ast.get_docstring(node)
    special = node.name.startswith("_") or bool(node.decorator_list)
    if docstring is None or special or len(node.body) != 2 or not isinstance(node.body[1], ast.Return):
        return
    head = lines[node.lineno - 1 : node.body[0].lineno - 1]
    body = lines[node.body[1].lineno - 1 : node.end_lineno]
    yield from _pair(intent(docstring), [*head, *body], f"{origin}:{node.lineno}")


def _pair(written: str | None, source: Sequence[str], origin: str) -> Iterator[Pair]:
    code = textwrap.dedent("".join(source)).strip()
    if written is not None and len(source) <= MAX_LINES and _words(written) & _words(code):
        yield Pair(written, code, origin)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(_CAMEL.sub(" ", text).replace("_", " ").lower())) - _COMMON
