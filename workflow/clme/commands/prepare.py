"""`clme prepare`: the files that editors need before they edit."""

from pathlib import Path

import click

from clme.commands.options import FILE, FOLDER, SETTINGS_HELP, named_files, needs_option, text_or_file
from clme.study.needs import KINDS


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("model", type=FOLDER)
@click.option("--cases", type=FILE, help="The dataset's cases.parquet, for what belongs to a dataset.")
@needs_option
@click.option("--settings", required=True, help=SETTINGS_HELP)
@click.option("--journals", type=FOLDER, required=True, help="Folder for finished parts and checkpoints.")
@click.option("--output", type=FILE, required=True, help="File to be written.")
def prepare(
    kind: str,
    model: Path,
    cases: Path | None,
    needs: tuple[str, ...],
    settings: str,
    journals: Path,
    output: Path,
) -> None:
    """Make a file of a KIND that editors need for MODEL (a folder).

    `clme edit` takes it by `--needs KIND=FILE`, and so does this command for kinds that are made from
    others. A run that was interrupted goes on where it stopped. On SIGTERM or SIGUSR1, and before its time
    in a batch system ends, it stops after a batch, with status 75. Example of settings: {"model":
    "smollm2-135m", "dataset": "cnle", "need": {"layer": 12, "module": "mlp.down_proj"}}

    With "shard": {"number": 1, "of": 4} among the settings it makes what belongs to a quarter of the
    fold's cases; `clme merge-prepared` puts all quarters together.
    """
    from clme import stopping
    from clme.study import prepare as job
    from clme.study.settings import PrepareSettings, parse

    parsed = parse(PrepareSettings, text_or_file(settings))
    with stopping.told_by_signals():
        job.run(kind, model, cases, named_files(needs, "--needs"), parsed, journals, output)


@click.command()
@click.argument("shards", type=FILE, nargs=-1, required=True)
@click.option("--output", type=FILE, required=True, help="File to be written.")
def merge_prepared(shards: tuple[Path, ...], output: Path) -> None:
    """Put all SHARDS of a file that editors need together: the file that one job makes of all cases."""
    from clme.study import merge_prepared as job

    job.run(shards, output)
