"""Renaming never changes a program: edge cases that are run."""

import keyword

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clme.datasets.renaming import choose_names, different_stem, rename, renameable, same_program, words
from programs import dedent, variables


def fresh(names):
    return {name: f"fresh_{number}" for number, name in enumerate(names)}


def value(code, *arguments, name="f"):
    """Run a function's source and call it."""
    space = {}
    exec(compile(dedent(code), "<test>", "exec", dont_inherit=True), space)
    return space[name](*arguments)


# A function, the variables that can be renamed in it, and arguments to call it with.
CASES = {
    "plain": ("def f(a, b):\n    total = a + b\n    return total", ["a", "b", "total"], (1, 2)),
    "keywords of calls stay": (
        """
        def f(items, flip):
            size = 3
            return sorted(items, reverse=flip), dict(size=size), items
        """,
        ["items", "flip"],
        ([2, 1], True),
    ),
    "a parameter that is passed by keyword": (
        """
        def f(x):
            def g(y, z=1):
                return y + z
            return g(x, z=2)
        """,
        ["x", "y"],
        (3,),
    ),
    "keyword-only, star and positional-only parameters": (
        """
        def f(a, /, b, *rest, key=0, **more):
            return a, b, rest, key, more
        """,
        ["a", "b", "rest", "key", "more"],
        (1, 2, 3),
    ),
    "f-strings": (
        """
        def f(value, width):
            text = "name"
            return f"value {value!r:>{width}} {text + 'text'} {{value}}"
        """,
        ["value", "width", "text"],
        (5, 8),
    ),
    "names that are shown": (
        """
        def f(a, b):
            c = a + b
            return f"{a=} {a + c = } {b}"
        """,
        ["b"],
        (1, 2),
    ),
    "comprehensions": (
        """
        def f(rows):
            n = 2
            return [n * x for row in rows for x in row if x], {x: n for x in rows[0]}, sum(x for x in rows[1])
        """,
        ["rows", "n", "x", "row"],
        ([[1, 2], [3]],),
    ),
    "nonlocal": (
        """
        def f(start):
            count = start
            def up():
                nonlocal count
                count += 1
                return count
            up()
            return count
        """,
        ["start", "count"],
        (5,),
    ),
    "global": (
        """
        def f(x):
            global state
            state = x
            y = state
            return y
        """,
        ["x", "y"],
        (1,),
    ),
    "a name that is global in an inner function and local in the outer": (
        """
        def f(x):
            state = x
            def g():
                global state
                state = 7
            g()
            return state
        """,
        ["x"],
        (1,),
    ),
    "closures": (
        """
        def f(base):
            step = 2
            def g(x):
                return lambda y, z=step: base + x * y + step + z
            return g(3)(4)
        """,
        ["base", "step", "x", "y", "z"],
        (1,),
    ),
    "decorators": (
        """
        def wrap(function):
            return function

        @wrap
        def f(wrapped):
            return wrapped
        """,
        ["function", "wrapped"],
        (1,),
    ),
    "match": (
        """
        def f(point, real):
            match point:
                case complex(real=part, imag=0):
                    return "on the axis", part, real
                case [first, *others]:
                    return first, others
                case {"key": found, **rest}:
                    return found, rest
                case (1 | 2) as number:
                    return number
                case other:
                    return other
        """,
        ["point", "real", "part", "first", "others", "found", "rest", "number", "other"],
        ({"key": 1, "x": 2}, 3),
    ),
    "attributes, imports and names within": (
        """
        def f(path):
            import os.path as join
            from json import loads
            name = join.join(path, path.upper().lower())
            return name, loads("1"), name.upper()
        """,
        ["path", "name"],
        ("a",),
    ),
    "a variable with the name of a module that is imported from": (
        """
        def f(json):
            from json import loads
            return loads(json)
        """,
        ["json"],
        ("1",),
    ),
    "exceptions, with, walrus, delete, unpacking, annotations": (
        """
        def f(x: int, *, y: "int" = 2) -> int:
            z: int = x
            try:
                if (half := z // 0) > 1:
                    return half
            except ZeroDivisionError as error:
                kept = type(error).__name__
            a, (b, *c) = 1, (2, 3)
            for i in range(3):
                pass
            else:
                i += 1
            del a
            return kept, b, c, i, y
        """,
        ["x", "y", "z", "half", "error", "kept", "a", "b", "c", "i"],
        (4,),
    ),
    "class attributes and methods": (
        """
        def f(x):
            class Inner:
                size = x
                def get(self, extra):
                    return self.size + extra
            size = 9
            return Inner().get(size)
        """,
        ["extra"],
        (1,),
    ),
    "shadowed builtins are variables": (
        """
        def f(dir, vars):
            return dir + vars
        """,
        ["dir", "vars"],
        (1, 2),
    ),
    "generators and async": (
        """
        def f(n):
            async def later(value):
                async with value as inner:
                    return [x async for x in inner]
            def up(limit):
                got = yield limit
                yield from range(limit)
            return list(up(n))
        """,
        ["n", "value", "inner", "x", "limit", "got"],
        (2,),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_edge_cases_keep_their_value(name):
    code, expected, arguments = CASES[name]
    code = dedent(code)
    found = renameable(code)
    assert found == [one for one in found if one in expected], "in order of appearance"
    assert sorted(found) == sorted(expected)
    renamed = rename(code, fresh(found))
    assert set(found).isdisjoint(variables(renamed))
    assert str(value(renamed, *arguments)) == str(value(code, *arguments))


@pytest.mark.parametrize(
    "line",
    [
        "locals()['x']",
        "vars()['x']",
        "eval('x')",
        "exec('x')",
        "dir()",
        "list(map(eval, ['x']))",
        "(lambda e=eval: e('x'))()",
        "builtins.eval('x')",
        "sys._getframe().f_locals['x']",
        "[locals() for _ in x]",
    ],
)
def test_functions_that_can_see_names_are_left_alone(line):
    assert renameable(f"def f(x):\n    y = {line}\n    return y") == []


def test_star_imports_and_code_that_does_not_parse_have_no_names():
    assert renameable("from os import *\ndef f(x):\n    return x") == []
    assert renameable("def f(x:\n    return x") == []
    assert renameable("def f(x):\n    return '\0'") == []
    assert renameable("") == []


@pytest.mark.parametrize("quotes", ['"""', "'''", 'r"""'])
def test_keywords_of_doctests_stay(quotes):
    code = f"""
    def f(size, rest, unused, other):
        {quotes}Cut a thing of this size.

        >>> f(3, rest=4,
        ...   other = 5)
        >>> size == 3
        {quotes[-3:]}
        return size, rest, unused
    """
    code = dedent(code)
    assert renameable(code) == ["size", "unused"]
    renamed = rename(code, {"size": "width", "unused": "spare"})
    assert "Cut a thing of this size." in renamed, "docstrings stay as they are"
    assert "def f(width, rest, spare, other):" in renamed


def test_self_and_private_names_stay():
    code = "def f(self, cls, _, __x, y):\n    return self.y, cls, _, __x, y"
    assert renameable(code) == ["y"]
    assert rename(code, {"y": "z"}) == "def f(self, cls, _, __x, z):\n    return self.y, cls, _, __x, z"


def test_comments_and_strings_stay():
    code = "def f(total):\n    # total of all\n    return 'total', total  # total"
    assert (
        rename(code, {"total": "amount"})
        == "def f(amount):\n    # total of all\n    return 'total', amount  # total"
    )


@pytest.mark.parametrize(
    ("code", "mapping"),
    [
        ("def f(x, y):\n    return x, y", {"x": "y"}),
        ("def f(x):\n    return len([x])", {"x": "len"}),
        ("def f(x):\n    return x", {"f": "g"}),
        ("def f(x):\n    return x", {"x": "class"}),
    ],
)
def test_a_renaming_that_changes_the_program_is_refused(code, mapping):
    with pytest.raises(ValueError, match="renaming changed the program"):
        rename(code, mapping)


@pytest.mark.parametrize(
    ("code", "renamed", "mapping", "same"),
    [
        ("def f(x):\n    return x", "def f(y):\n    return y", {"x": "y"}, True),
        ("def f(x):\n    return x + 1", "def f(y):\n    return y + 2", {"x": "y"}, False),
        ("def f(x):\n    return x.a", "def f(y):\n    return y.b", {"x": "y"}, False),
        ("def f(x):\n    return 'x'", "def f(y):\n    return 'z'", {"x": "y"}, False),
        ("def f(x, z):\n    return x", "def f(y, z):\n    return z", {"x": "y"}, False),
        ("def f(x):\n    return x", "def f(y)\n    return y", {"x": "y"}, False),
    ],
)
def test_programs_are_told_apart(code, renamed, mapping, same):
    assert same_program(code, renamed, mapping) == same


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_variables_of_a_program_can_be_renamed_to_any_new_names(data):
    code = dedent(CASES["closures"][0])
    chosen = data.draw(st.lists(st.sampled_from(renameable(code)), unique=True))
    new = data.draw(
        st.lists(
            st.from_regex(r"[a-zA-Z][a-z_0-9]{3,6}", fullmatch=True).filter(lambda n: not _taken(n)),
            min_size=len(chosen),
            max_size=len(chosen),
            unique=True,
        )
    )
    mapping = dict(zip(chosen, new, strict=True))
    renamed = rename(code, mapping)
    assert value(renamed, 1) == value(code, 1)
    assert variables(renamed) == {mapping.get(name, name) for name in variables(code)}


def _taken(name):
    return keyword.iskeyword(name) or name in ("base", "step")


def test_words_of_identifiers():
    assert words("parseHTTPResponse_2x") == {"parse", "http", "response", "2", "x"}
    assert words("_") == frozenset()
    assert different_stem("file_name", "path")
    assert not different_stem("file_name", "nameOf")
    assert not different_stem("connect", "connections")


def test_new_names_are_the_best_that_are_free_and_of_another_stem():
    code = "def f(count, items):\n    return len(items) * count + other"
    candidates = {
        "count": ["counter", "other", "len", "class", "match", "1st", "number"],
        "items": ["number", "elements"],
    }
    assert choose_names(code, ["count", "items"], candidates.__getitem__) == {
        "count": "number",
        "items": "elements",
    }
    assert choose_names(code, ["count"], lambda _: ["counter", "len"]) == {}
