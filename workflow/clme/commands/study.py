"""`clme baseline`, `clme edit`, and what is computed from their results; `clme editors`."""

from pathlib import Path

import click

from clme.commands.options import FILE, FOLDER, SETTINGS_HELP, named_files, needs_option, text_or_file


@click.command()
@click.argument("model", type=FOLDER)
@click.argument("cases", type=FILE)
@click.option("--settings", required=True, help=SETTINGS_HELP)
@click.option("--journals", type=FOLDER, required=True, help="Folder where finished batches are kept.")
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def baseline(model: Path, cases: Path, settings: str, journals: Path, output: Path) -> None:
    """Compute what the unedited MODEL (a folder) says to the CASES (a dataset's cases.parquet).

    A run that was interrupted goes on where it stopped. On SIGTERM or SIGUSR1, and before its time in a
    batch system ends, it stops after a batch, with status 75. Example of settings:
    {"model": "smollm2-135m", "dataset": "cnle", "evaluation": {"cases": 24}}
    """
    from clme import stopping
    from clme.study import baseline as job
    from clme.study.settings import BaselineSettings, parse

    with stopping.told_by_signals():
        job.run(model, cases, parse(BaselineSettings, text_or_file(settings)), journals, output)


@click.command()
@click.argument("model", type=FOLDER)
@click.argument("cases", type=FILE)
@click.argument("baseline", type=FILE)
@needs_option
@click.option("--settings", required=True, help=SETTINGS_HELP)
@click.option("--journals", type=FOLDER, required=True, help="Folder where finished batches are kept.")
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def edit(
    model: Path,
    cases: Path,
    baseline: Path,
    needs: tuple[str, ...],
    settings: str,
    journals: Path,
    output: Path,
) -> None:
    """Edit MODEL (a folder) for each of the CASES (a dataset's cases.parquet) of one fold and evaluate.

    BASELINE is the output of `clme baseline` for the same model and cases. A run that was interrupted
    goes on after its last finished batch; on SIGTERM or SIGUSR1, and before its time in a batch system
    ends, it stops after a batch, with status 75. Some editors need files that `clme prepare` makes.
    Example of settings: {"model": "smollm2-135m", "dataset": "cnle", "editor": "grace", "fold": 0,
    "hyperparameters": {"layer": 12}}
    """
    from clme import stopping
    from clme.study import edit_job
    from clme.study.settings import EditSettings, parse

    parsed = parse(EditSettings, text_or_file(settings))
    with stopping.told_by_signals():
        edit_job.run(model, cases, baseline, named_files(needs, "--needs"), parsed, journals, output)


@click.command()
@click.argument("shards", type=FILE, nargs=-1, required=True)
@click.option("--cases", type=FILE, required=True, help="The dataset's cases.parquet.")
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def merge(shards: tuple[Path, ...], cases: Path, output: Path) -> None:
    """Put all SHARDS of an edit job together: the file that the job makes when it isn't divided."""
    from clme.study import merge as job

    job.run(shards, cases, output)


@click.command()
@click.argument("edits", type=FILE, nargs=-1, required=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def aggregate(edits: tuple[Path, ...], seed: int, output: Path) -> None:
    """Put the result files of edit jobs (EDITS, all folds) together: means and 95% intervals."""
    from clme.study import aggregate as job

    job.run(edits, seed, output)


@click.command()
@click.argument("edits", type=FILE, nargs=-1, required=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def compare(edits: tuple[Path, ...], seed: int, output: Path) -> None:
    """Compare editors case by case (EDITS: result files of edit jobs): differences, intervals, tests."""
    from clme.study import compare as job

    job.run(edits, seed, output)


@click.command()
@click.argument("edits", type=FILE, nargs=-1, required=True)
@click.option("--cases", metavar="DATASET=FILE", multiple=True, help="A dataset's cases.parquet.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def strata(edits: tuple[Path, ...], cases: tuple[str, ...], seed: int, output: Path) -> None:
    """Compute metrics by target length and by similarity of the neighbours (EDITS: files of edit jobs)."""
    from clme.study import strata as job

    job.run(edits, named_files(cases, "--cases"), seed, output)


@click.command()
@click.argument("representations", type=FILE)
@click.argument("states", type=FILE, nargs=-1, required=True)
@click.option("--cases", type=FILE, required=True, help="The dataset's cases.parquet.")
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def distances(representations: Path, states: tuple[Path, ...], cases: Path, output: Path) -> None:
    """Measure distances between keys before and after A-GRACE's encoders (STATES, one for each fold).

    REPRESENTATIONS and STATES are made by `clme prepare`.
    """
    from clme.study import distances as job

    job.run(representations, states, cases, output)


@click.command()
@click.argument("states", type=FILE, nargs=-1)
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def training(states: tuple[Path, ...], output: Path) -> None:
    """Put together what was measured while editors trained (STATES: made by `clme prepare state`)."""
    from clme.study import training as job

    job.run(states, output)


@click.command()
@click.argument("trials", type=FILE, nargs=-1, required=True)
@click.option("--output", type=FILE, required=True, help="Markdown file to be written.")
def tuning(trials: tuple[Path, ...], output: Path) -> None:
    """Rank what a search for hyperparameters tried (TRIALS: result files of edit jobs)."""
    from clme.study import tuning as job

    job.run(trials, output)
    click.echo(output.read_text(encoding="utf-8"))


@click.command()
@click.argument("name", required=False)
def editors(name: str | None) -> None:
    """List the registered editors, or the hyperparameters of the one with this NAME."""
    from clme.editors import registry

    if name is None:
        for registered in registry.names():
            summary = (registry.editor(registered).__doc__ or "").splitlines()[0]
            click.echo(f"{registered:16} {summary}")
        return
    chosen = registry.editor(name)
    for key, field in chosen.Config.model_fields.items():
        released = f" [released: {chosen.released[key]}]" if key in chosen.released else ""
        click.echo(f"{key:22} {field.default!s:16} {field.description}{released}")
