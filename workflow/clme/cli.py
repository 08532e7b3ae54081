"""`clme`: what the rules of the workflow call, and what a person can call."""

import importlib
import sys

import click

import clme
from clme.errors import UserError
from clme.stopping import STATUS, Stopped

COMMANDS = {
    "model": ("clme.commands.models", "model"),
    "dataset": ("clme.commands.datasets", "dataset"),
    "baseline": ("clme.commands.study", "baseline"),
    "texts": ("clme.commands.moments", "texts"),
    "prepare": ("clme.commands.prepare", "prepare"),
    "export-moments": ("clme.commands.moments", "export_moments"),
    "edit": ("clme.commands.study", "edit"),
    "merge": ("clme.commands.study", "merge"),
    "merge-prepared": ("clme.commands.prepare", "merge_prepared"),
    "aggregate": ("clme.commands.study", "aggregate"),
    "compare": ("clme.commands.study", "compare"),
    "distances": ("clme.commands.study", "distances"),
    "strata": ("clme.commands.study", "strata"),
    "training": ("clme.commands.study", "training"),
    "tuning": ("clme.commands.study", "tuning"),
    "editors": ("clme.commands.study", "editors"),
    "plan": ("clme.commands.plan", "plan"),
    "record": ("clme.commands.publish", "record"),
    "table": ("clme.commands.publish", "table"),
    "figure": ("clme.commands.publish", "figure"),
    "exhibits": ("clme.commands.publish", "exhibits"),
    "published": ("clme.commands.publish", "published"),
    "numbers": ("clme.commands.publish", "numbers"),
    "paper": ("clme.commands.publish", "paper"),
    "report": ("clme.commands.publish", "report"),
    "archive": ("clme.commands.publish", "archive"),
    "unpack": ("clme.commands.publish", "unpack"),
    "timings": ("clme.commands.publish", "timings"),
    "schema": ("clme.commands.config", "schema"),
}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is used: torch takes seconds to load."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the workflow."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the named command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(clme.__version__)
def group() -> None:
    """Model editing for language models of code: datasets, edits, metrics, tables, figures, paper.

    The workflow (`snakemake`) calls these commands; each can also be called by hand.
    """


def main() -> None:
    """Run the command line; a `UserError` becomes one line and exit status 2, `Stopped` status 75."""
    try:
        group()
    except UserError as error:
        click.echo(f"clme: error: {error}", err=True)
        sys.exit(2)
    except Stopped as stop:
        click.echo(f"clme: {stop}", err=True)
        sys.exit(STATUS)
