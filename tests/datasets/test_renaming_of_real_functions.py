"""Renaming never changes a program: a thousand real functions, compared as bytecode up to names."""

import ast
import sysconfig
import types
import warnings
from pathlib import Path

from clme.datasets.renaming import rename, renameable
from programs import dedent, variables

FUNCTIONS = 1000


def real_functions():
    """Functions and methods of the standard library of the running Python, in a fixed order."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted([*root.glob("*.py"), *root.glob("[a-h]*/*.py")]):
        if "test" in path.as_posix() or "site-packages" in path.parts or "idlelib" in path.parts:
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                module = ast.parse(text)
            except SyntaxError:
                continue
        lines = text.split("\n")
        for node in ast.walk(module):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and 3 <= node.end_lineno - node.lineno < 12
            ):
                yield dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))


def unlike(code, renamed, mapping):
    """Say where two code objects differ but for names; compared by the bytes of their instructions.

    The compiler sorts cells by name, so with cells the bytes may differ: then their number and the
    instructions without arguments must be equal.
    """
    cells = code.co_cellvars + code.co_freevars

    def now(names):
        return tuple(mapping.get(name, name) for name in names)

    if not cells and code.co_code != renamed.co_code:
        return "instructions"
    if cells and sorted(code.co_code[::2]) != sorted(renamed.co_code[::2]):
        return "instructions"
    if cells and set(now(cells)) != set(renamed.co_cellvars + renamed.co_freevars):
        return "cells"
    arguments = code.co_argcount + code.co_kwonlyargcount
    if now(code.co_varnames[:arguments]) != renamed.co_varnames[:arguments]:
        return "parameters"
    if sorted(now(code.co_varnames)) != sorted(renamed.co_varnames):
        return "variables"
    if (code.co_names, code.co_flags, code.co_name) != (renamed.co_names, renamed.co_flags, renamed.co_name):
        return "names"
    if len(code.co_consts) != len(renamed.co_consts):
        return "constants"
    for one, other in zip(code.co_consts, renamed.co_consts, strict=True):
        if isinstance(one, types.CodeType):
            found = unlike(one, other, mapping)
            if found:
                return found
        elif one != other and not (isinstance(one, str | tuple) and named(one, mapping) == other):
            return f"the constant {one!r}"
    return None


def named(constant, mapping):
    """A constant with the names of annotated parameters, which are constants of the module."""
    if isinstance(constant, tuple):
        return tuple(named(part, mapping) for part in constant)
    return mapping.get(constant, constant) if isinstance(constant, str) else constant


def test_a_thousand_real_functions_stay_the_same_program():
    done = 0
    for code in real_functions():
        names = renameable(code)
        if not names:
            continue
        mapping = {name: f"{name}_new" for name in names}
        if set(mapping.values()) & variables(code):
            continue
        renamed = rename(code, mapping)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = [compile(text, "<test>", "exec") for text in (code, renamed)]
            assert variables(renamed).isdisjoint(names), code
        assert unlike(*compiled, mapping) is None, code
        if done % 10 == 0:
            assert rename(renamed, {new: old for old, new in mapping.items()}) == code
        done += 1
        if done == FUNCTIONS:
            return
    raise AssertionError(f"only {done} functions")
