"""Renames the local variables of a function without changing the program (after ALERT, Yang et al., 2022)."""

import builtins
import dis
import itertools
import keyword
import re
import symtable
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

import libcst as cst

REFLECTIVE = frozenset({"locals", "vars", "globals", "exec", "eval", "dir"})
"""Builtins that can see names: a function that mentions one of them is left alone."""

_REFLECTIVE_ATTRIBUTES = frozenset({"eval", "exec", "f_locals"})
_CELL_STEPS = frozenset({"MAKE_CELL", "LOAD_CLOSURE"})
_FAST = re.compile(r"(?:LOAD|STORE)_FAST(?:_BORROW)?")
_EXAMPLE = re.compile(r"(?:>>>|^\s*\.\.\.)(.*)$", re.MULTILINE)
_KEYWORD = re.compile(r"(\w+)\s*=(?!=)")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def renameable(code: str) -> list[str]:
    """Return the variables that can be renamed everywhere at once, in order of appearance.

    Left alone are: functions that can see names, ``self`` and ``cls``, names that are global, imported, a
    class attribute or a nested definition in some scope, parameters that are passed by keyword in the code
    or in the examples of its docstrings, names shown by ``{name=}``, and names with two leading underscores.

    Args:
        code: a function's source. Code that doesn't parse has none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = symtable.symtable(code, "<case>", "exec")
        _, names = _parse(code)
    except (SyntaxError, ValueError, cst.ParserSyntaxError):
        return []
    if (
        names.attributes & _REFLECTIVE_ATTRIBUTES
        or names.star_import
        or any(map(_can_see_names, _scopes(table)))
    ):
        return []
    fixed = {"self", "cls", "_"} | names.keywords | names.shown
    local: dict[str, None] = {}
    for scope in _scopes(table):
        for symbol in scope.get_symbols():
            name = symbol.get_name()
            movable = scope.get_type() == "function" and (
                symbol.is_local() or symbol.is_parameter() or symbol.is_free()
            )
            if (
                movable
                and not symbol.is_imported()
                and not symbol.is_namespace()
                and not symbol.is_declared_global()
            ):
                local.setdefault(name)
            else:
                fixed.add(name)
    order = {name: place for place, name in reversed(list(enumerate(names.variables)))}
    kept = [name for name in local if name not in fixed and not name.startswith("__") and name in order]
    return sorted(kept, key=order.__getitem__)


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _scopes(child)


def _can_see_names(scope: symtable.SymbolTable) -> bool:
    """Tell whether a scope mentions a reflective builtin; a variable of that name is none."""
    symbols = [symbol for symbol in scope.get_symbols() if symbol.get_name() in REFLECTIVE]
    return any(symbol.is_referenced() and not (symbol.is_local() or symbol.is_free()) for symbol in symbols)


class _Names(cst.CSTVisitor):
    """Collects names by the part that they play."""

    def __init__(self) -> None:
        self.variables: list[str] = []
        self.keywords: set[str] = set()
        self.shown: set[str] = set()
        self.attributes: set[str] = set()
        self.star_import = False

    def visit_Name(self, node: cst.Name) -> None:
        self.variables.append(node.value)

    def visit_Arg(self, node: cst.Arg) -> None:
        if node.keyword is not None:
            self.keywords.add(node.keyword.value)

    def visit_Attribute(self, node: cst.Attribute) -> None:
        self.attributes.add(node.attr.value)

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        for example in _EXAMPLE.findall(node.value):
            self.keywords.update(_KEYWORD.findall(example))

    def visit_ImportStar(self, _: cst.ImportStar) -> None:
        self.star_import = True

    def visit_FormattedStringExpression(self, node: cst.FormattedStringExpression) -> None:
        if node.equal is not None:
            inside = _Names()
            node.expression.visit(inside)
            self.shown |= set(inside.variables)


@lru_cache(maxsize=1)  # one function after the other gets its new names and is renamed
def _parse(code: str) -> tuple[cst.Module, _Names]:
    tree, names = cst.parse_module(code), _Names()
    tree.visit(names)
    return tree, names


class _Renamer(cst.CSTTransformer):
    """Renames variables; attributes, keywords of calls and of class patterns are no variables."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._mapping = mapping
        self._kept: set[cst.CSTNode] = set()

    def visit_Attribute(self, node: cst.Attribute) -> None:
        self._kept.add(node.attr)

    def visit_Arg(self, node: cst.Arg) -> None:
        if node.keyword is not None:
            self._kept.add(node.keyword)

    def visit_MatchKeywordElement(self, node: cst.MatchKeywordElement) -> None:
        self._kept.add(node.key)

    def visit_ImportAlias(self, _: cst.ImportAlias) -> bool:
        return False

    def visit_ImportFrom(self, _: cst.ImportFrom) -> bool:
        return False

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        if original_node in self._kept or original_node.value not in self._mapping:
            return updated_node
        return updated_node.with_changes(value=self._mapping[original_node.value])


def rename(code: str, mapping: Mapping[str, str]) -> str:
    """Rename variables of a function.

    Args:
        code: a function's source.
        mapping: new names of some of `renameable(code)`; different from each other and from all names
            in the code.

    Raises:
        ValueError: the result isn't the same program up to names.
    """
    renamed = _parse(code)[0].visit(_Renamer(mapping)).code
    if not same_program(code, renamed, mapping):
        raise ValueError("renaming changed the program")
    return renamed


def same_program(code: str, renamed: str, mapping: Mapping[str, str]) -> bool:
    """Tell whether two sources compile to the same instructions, with the first's names mapped."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first, second = compile(code, "<case>", "exec"), compile(renamed, "<case>", "exec")
    except (SyntaxError, ValueError):
        return False
    return _same_code(first, second, mapping)


def _same_code(first: types.CodeType, second: types.CodeType, mapping: Mapping[str, str]) -> bool:
    counts = ("co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_names")
    if any(getattr(first, name) != getattr(second, name) for name in counts):
        return False
    one, other = _instructions(first, mapping), _instructions(second, {})
    return len(one) == len(other) and all(
        mine.opname == theirs.opname and _same_argument(mine, theirs, mapping)
        for mine, theirs in zip(one, other, strict=True)
    )


def _instructions(code: types.CodeType, mapping: Mapping[str, str]) -> list[dis.Instruction]:
    """Return the instructions; cells, which the compiler sorts by name, in the order of the new names."""
    cells = {*code.co_cellvars, *code.co_freevars}

    def handles_cells(step: dis.Instruction) -> bool:
        # From Python 3.13 on closures are made of cells that are loaded like other variables.
        return step.opname in _CELL_STEPS or (step.opname.startswith("LOAD_FAST") and step.argval in cells)

    found: list[dis.Instruction] = []
    for cell, group in itertools.groupby(_steps(code), handles_cells):
        steps = list(group)
        found += (
            sorted(steps, key=lambda step: (step.opname, mapping.get(step.argval, step.argval)))
            if cell
            else steps
        )
    return found


def _steps(code: types.CodeType) -> Iterator[dis.Instruction]:
    """Yield the instructions; those of two variables, which Python has from 3.13 on, as two."""
    for step in dis.get_instructions(code):
        parts = _FAST.findall(step.opname)
        if len(parts) == 2:
            for part, name in zip(parts, step.argval, strict=True):
                yield step._replace(opname=part, argval=name)
        else:
            yield step


def _same_argument(mine: dis.Instruction, theirs: dis.Instruction, mapping: Mapping[str, str]) -> bool:
    one, other = mine.argval, theirs.argval
    if isinstance(one, types.CodeType) and isinstance(other, types.CodeType):
        return _same_code(one, other, mapping)
    if mine.opcode in dis.hasfree or mine.opcode in dis.haslocal:
        return _renamed(one, mapping) == other
    # The names of annotated parameters are constants; other strings are never renamed.
    return bool(one == other or (mine.opname == "LOAD_CONST" and _renamed(one, mapping) == other))


def _renamed(argument: object, mapping: Mapping[str, str]) -> object:
    if isinstance(argument, tuple):
        return tuple(_renamed(part, mapping) for part in argument)
    return mapping.get(argument, argument) if isinstance(argument, str) else argument


def words(name: str) -> frozenset[str]:
    """Return the lower-case words of an identifier."""
    return frozenset(word.lower() for word in _WORDS.findall(name))


def different_stem(name: str, other: str) -> bool:
    """Tell whether two identifiers share no word and no beginning of four letters."""
    return not any(a[:4] == b[:4] for a in words(name) for b in words(other))


def choose_names(code: str, old: Iterable[str], candidates: Callable[[str], Iterable[str]]) -> dict[str, str]:
    """Choose a new name for each old one: the best candidate of a different stem that is not in use.

    Args:
        code: a function's source.
        old: the names to be replaced.
        candidates: names like a name, the best first.
    """
    taken = (
        set(_parse(code)[1].variables) | set(dir(builtins)) | set(keyword.kwlist) | set(keyword.softkwlist)
    )
    mapping: dict[str, str] = {}
    for name in old:
        fitting = (
            c for c in candidates(name) if c not in taken and c.isidentifier() and different_stem(name, c)
        )
        chosen = next(fitting, None)
        if chosen is not None:
            mapping[name] = chosen
            taken.add(chosen)
    return mapping
