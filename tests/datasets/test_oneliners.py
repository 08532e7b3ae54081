"""CNLE pairs out of modules: what a comment is about, what an instruction is, what is left out."""

import textwrap

import pytest

from clme.datasets.oneliners import intent, pairs


def found(source):
    return [(pair.input, pair.target) for pair in pairs(textwrap.dedent(source), "package:module.py")]


def test_a_comment_above_a_lone_statement_is_its_intent():
    source = """
    def walk(nodes):
        # Remove the first node
        # from the stack of nodes.
        node = nodes.pop(
            0
        )

        # Print the name of the node
        print(node.name)
    """
    assert found(source) == [
        ("remove the first node from the stack of nodes", "node = nodes.pop(\n    0\n)"),
        ("print the name of the node", "print(node.name)"),
    ]


def test_origins_name_the_line():
    (pair,) = pairs("import os\n\n# remove the old lock file\nos.remove(lock)\n", "package:module.py")
    assert (pair.origin, pair.split) == ("package:module.py:4", "")


@pytest.mark.parametrize(
    ("comment", "statement", "why"),
    [
        ("remove the old lock file", "os.remove(lock)\nlog(lock)", "two statements follow"),
        ("remove the old lock file", "if lock:\n    pass", "not a simple statement"),
        ("open all things here", "os.remove(lock)", "no word in common"),
        ("the old lock file", "os.remove(lock)", "no verb"),
        ("remove lock", "os.remove(lock)", "too few words"),
        ("remove the lock (TODO: later)", "os.remove(lock)", "a developer's note"),
        ("remove the lock, see https://x.y", "os.remove(lock)", "a link"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_other_comments_are_left_out(comment, statement, why):
    assert found(f"# {comment}\n{statement}\n") == [], why


def test_a_comment_beside_code_and_text_that_looks_like_one_are_no_comments():
    assert found("x = 1  # remove the old lock file\nos.remove(lock)\n") == []
    assert found('"""\n# remove the old lock file\n"""\nos.remove(lock)\n') == []


def test_a_function_of_one_return_has_its_docstrings_first_sentence_as_intent():
    source = '''
    def double(number):
        """Returns the doubled :class:`~int` number.  It is fast.

        More.
        """
        return 2 * number
    '''
    assert found(source) == [
        ("return the doubled `int` number", "def double(number):\n    return 2 * number")
    ]


@pytest.mark.parametrize(
    "source",
    [
        'def double(number):\n    """Return the doubled number."""\n    number *= 2\n    return number\n',
        'def _double(number):\n    """Return the doubled number."""\n    return 2 * number\n',
        '@cached\ndef double(number):\n    """Return the doubled number."""\n    return 2 * number\n',
        "def double(number):\n    return 2 * number\n",
    ],
    ids=["two statements", "private", "decorated", "undocumented"],
)
def test_other_functions_are_left_out(source):
    assert found(source) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fetches the user's name e.g. for a greeting", "fetch the user's name e.g. for a greeting"),
        ("list of all the names", None),
        ("list all of the names", "list all of the names"),
        ("", None),
        ("x" * 10, None),
    ],
)
def test_an_instruction_begins_with_a_verb(text, expected):
    assert intent(text) == expected


@pytest.mark.parametrize("source", ["def broken(:\n", "x = '''\n", "\0"], ids=["syntax", "string", "null"])
def test_a_module_that_does_not_parse_has_no_pairs(source):
    assert found(source) == []
