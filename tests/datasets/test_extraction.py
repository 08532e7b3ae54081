"""What is read out of cheat sheets and modules."""

import ast
import hashlib
import textwrap

import pytest

import wheels
from clme.datasets import actionsheets
from clme.datasets.functions import functions
from clme.datasets.wheels import Wheel, files
from clme.errors import UserError


@pytest.mark.parametrize(
    ("section", "action", "thing", "expected"),
    [
        ("Test", "Contains value _v_", "a tuple", "check whether a tuple contains value `v`"),
        ("Test", "Empty", "a tuple", "check whether a tuple is empty"),
        ("Test", "All elements are _v_", "a list", "check whether all elements are `v` in a list"),
        ("Test", "Lists are equal", "a list", "check whether lists are equal"),
        ("Update", "Remove element _x_.", "a set", "remove element `x` in a set"),
        ("Update", "Sort  list in place", "a list", "sort list in place"),
        ("Create", "From list _l_", "a set", "create a set from list `l`"),
        ("Create", "Empty dict", "a dict", "create an empty dict"),
        ("Create", "Zeros", "a NumPy array", "create a NumPy array of zeros"),
        ("Convert", "To list", "a tuple", "convert a tuple to list"),
        ("Convert", "JSON", "a dict", "convert a dict to JSON"),
        ("Constants", "Pi", "a float", "get the constant for pi"),
        ("Extract", "Length", "a list", "get the length of a list"),
        ("Extract", "Keys with value _v_", "a dict", "get the keys with value `v` in a dict"),
        ("Remarks", "Nothing to do", "a list", None),
    ],
)
def test_intents_stand_alone(section, action, thing, expected):
    assert actionsheets.intent(section, action, thing) == expected


SHEET = """
title = "Tuple"
[test]
section = "Test"
[test.1]
action = "Empty"
code = "not t "
[test.deep.2]
action = "Contains value _v_"
code = "v in t"
[test.3]
action = "Nothing to run"
[test.4]
action = " "
code = "x"
"""


def test_a_sheet_gives_its_entries_with_their_place():
    found = list(actionsheets.pairs(SHEET, "actionsheets/data/python/tuple.toml"))
    assert [(pair.input, pair.target, pair.origin) for pair in found] == [
        ("check whether a tuple is empty", "not t", "actionsheets:tuple.toml#test.1"),
        ("check whether a tuple contains value `v`", "v in t", "actionsheets:tuple.toml#test.deep.2"),
    ]
    assert list(actionsheets.pairs(SHEET.replace("Tuple", "Bash"), "bash.toml")) == []


def test_a_damaged_sheet_is_named():
    with pytest.raises(UserError, match=r"tuple\.toml: not TOML .*delete it and rerun") as error:
        list(actionsheets.pairs("title = ", "tuple.toml"))
    assert "\n" not in str(error.value)


MODULE = textwrap.dedent(
    '''
    """A module."""

    class Thing:
        @property
        def size(self):
            """The size of the thing.

            In metres.
            """
            width = self.width
            return width

        def __len__(self):
            """Return the length of it."""
            one = 1
            return one

        def too_short(self):
            """Return the length of it."""
            return 1

        def two_words(self):
            """Two words."""
            one = 1
            return one

        def undocumented(self):
            one = 1
            return one

        def test_of_something(self):
            """Make sure that it works."""
            one = 1
            return one

    async def outer(x):
        """Wait for the inner one."""
        def inner(y):
            """Add one to the number."""
            z = y + 1
            return z
        return inner(x)
    '''
)


def test_functions_are_chosen_by_the_rules_of_codesearchnet():
    found = {pair.origin.rsplit(":", 1)[1]: pair for pair in functions(MODULE, "m:x.py", "train", True)}
    targets = [pair.target for pair in found.values()]
    assert sorted(targets) == [
        "Add one to the number.",
        "The size of the thing.\n\nIn metres.",
        "Wait for the inner one.",
    ]
    assert {pair.split for pair in found.values()} == {"train"}
    (size,) = [pair for pair in found.values() if "metres" in pair.target]
    assert size.input.startswith('@property\ndef size(self):\n    """The size of the thing.')
    assert size.input.endswith("return width")


def test_the_docstring_can_be_left_out():
    for pair in functions(MODULE, "m", "test", False):
        assert pair.target.split("\n")[0] not in pair.input.split("\n    def inner")[0]
        assert isinstance(ast.parse(pair.input).body[0], ast.FunctionDef | ast.AsyncFunctionDef)


def test_form_feeds_and_other_separators_do_not_shift_lines():
    """Python counts lines by line feeds only; `str.splitlines` splits at more."""
    module = 'x = 1\n\x0c\ntext = "a\x85b\u2028c\x1c"\r\n' + MODULE
    found = {pair.target: pair.input for pair in functions(module, "m", "train", True)}
    assert found == {pair.target: pair.input for pair in functions(MODULE, "m", "train", True)}


@pytest.mark.parametrize("text", ["def f(:", "x = '\0'", ""])
def test_a_module_that_does_not_parse_has_no_functions(text):
    assert list(functions(text, "m", "train", True)) == []


def test_modules_that_are_not_utf8_are_passed_over_and_damaged_wheels_named(tmp_path):
    content = {"words/a.py": "x = 'ü'".encode("latin-1"), "words/b.py": b"y = 1", "words/c.txt": b"z"}
    wheel = Wheel("words==1.0", wheels.build(tmp_path, "words", "1.0", content), "MIT")
    assert list(files(tmp_path, wheel, ".py")) == [("words/b.py", "y = 1")]
    (path,) = tmp_path.glob("*.whl")
    path.write_bytes(b"PK nonsense")
    damaged = Wheel("words==1.0", hashlib.sha256(b"PK nonsense").hexdigest(), "MIT")
    with pytest.raises(UserError, match=r"words-1\.0.*\.whl: damaged .*delete it and rerun"):
        list(files(tmp_path, damaged, ".py"))
