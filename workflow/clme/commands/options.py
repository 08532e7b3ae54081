"""Options that commands share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
SETTINGS_HELP = "The job's settings as a JSON object, or @FILE that holds it."


def text_or_file(text: str) -> str:
    """Return the text, or what is in the file that it names after an ``@``."""
    return Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text


def needs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--needs KIND=FILE``."""
    text = "A file made by `clme prepare KIND`; once for each kind that is needed."
    return click.option("--needs", metavar="KIND=FILE", multiple=True, help=text)(command)


def files_by_kind(needs: Sequence[str]) -> dict[str, Path]:
    """Read the values of ``--needs``.

    Raises:
        click.BadParameter: one isn't of the form, or a kind is there twice.
    """
    files: dict[str, Path] = {}
    for need in needs:
        kind, equals, path = need.partition("=")
        if not (kind and equals and path):
            raise click.BadParameter(f"expected KIND=FILE, found {need!r}", param_hint="--needs")
        if kind in files:
            raise click.BadParameter(f"{kind} is there twice", param_hint="--needs")
        files[kind] = Path(path)
    return files
