"""Programs as texts."""

import ast
import textwrap


def dedent(code):
    return textwrap.dedent(code).strip() + "\n"


def variables(code):
    """Names of variables and parameters, as Python's own parser finds them."""
    nodes = list(ast.walk(ast.parse(code)))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.arg for n in nodes if isinstance(n, ast.arg)}
