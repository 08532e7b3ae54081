"""Options that commands share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from clme.errors import UserError

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
SETTINGS_HELP = "The job's settings as a JSON object, or @FILE that holds it."


def text_or_file(text: str) -> str:
    """Return the text, or what is in the file that it names after an ``@``.

    Raises:
        UserError: the file can't be read.
    """
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{text[1:]}: can't be read ({error})") from error


def needs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--needs KIND=FILE``."""
    text = "A file made by `clme prepare KIND`; once for each kind that is needed."
    return click.option("--needs", metavar="KIND=FILE", multiple=True, help=text)(command)


def named_files(values: Sequence[str], option: str) -> dict[str, Path]:
    """Read the values of an option of the form ``NAME=FILE``.

    Raises:
        click.BadParameter: one isn't of the form, or a name is there twice.
    """
    files: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"expected NAME=FILE, found {value!r}", param_hint=option)
        if name in files:
            raise click.BadParameter(f"{name} is there twice", param_hint=option)
        files[name] = Path(path)
    return files
