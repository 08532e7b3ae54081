"""`clme texts`, `clme export-moments`: the texts of second moments, and their exchange with others."""

from pathlib import Path

import click

from clme.commands.options import FILE, FOLDER


@click.command()
@click.option(
    "--corpus",
    required=True,
    help="packages, hub:OWNER/NAME[/FOLDER][@REVISION] or path:FOLDER (Parquet files with a column `text`).",
)
@click.option("--folder", type=FOLDER, required=True, help="Where the corpus's raw material is kept.")
@click.option(
    "--lock",
    type=FILE,
    default=Path("workflow/locks/hub.json"),
    show_default=True,
    help="Where the hub's revisions and checksums are recorded at the first download.",
)
@click.option("--samples", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="The study's seed.")
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def texts(corpus: str, folder: Path, lock: Path, samples: int, seed: int, output: Path) -> None:
    """Choose texts of a corpus at random, for `clme prepare moments --needs texts=FILE`."""
    from clme.datasets import texts as stage

    stage.run(corpus, folder, lock, samples, seed, output)
    click.echo(f"{corpus} -> {output}")


@click.command("export-moments")
@click.argument("moments", type=FILE)
@click.option("--samples", type=click.IntRange(1), help="Number of texts, where MOMENTS doesn't say it.")
@click.option("--prefix", default="model.", show_default=True, help="What stands before `layers.4...`.")
@click.option("--output", type=FOLDER, required=True, help="Folder for one file per layer.")
def export_moments(moments: Path, samples: int | None, prefix: str, output: Path) -> None:
    """Write MOMENTS (made by `clme prepare moments`) as the NumPy files of ROME, MEMIT and EasyEdit.

    They are read by the configuration's `moments.corpus: npz:FOLDER`.
    """
    from clme.editors.npz import samples_of, write_npz

    for path in write_npz(moments, output, prefix, samples or samples_of(moments)):
        click.echo(str(path))
