"""`clme table`, `clme figure`, `clme numbers`, `clme paper`, `clme report`, `clme timings`, `clme record`."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from clme.publish.results import Results

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def _results(command: Any) -> Any:
    """Add the options that say where results are; the command gets them as `results`."""

    @click.option(
        "--results",
        "folder",
        type=FOLDER,
        default=Path("results"),
        show_default=True,
        help="Folder of results.",
    )
    @click.option(
        "--published",
        type=FOLDER,
        default=Path("paper/published"),
        show_default=True,
        help="Folder of the paper's numbers.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, folder: Path, published: Path, **options: Any) -> Any:
        from clme.publish.results import Results

        return command(*args, results=Results(folder, published), **options)

    return wrapped


@click.command()
@click.option("--config", required=True, help="The study's configuration as JSON.")
@click.option("--output", type=FILE, required=True, help="JSON file to be written.")
def record(config: str, output: Path) -> None:
    """Record which study the results are of, for all that reads them."""
    import json

    from clme.files import write_text
    from clme.study.config import load

    write_text(output, load(json.loads(config)).model_dump_json(indent=2) + "\n")


@click.command()
@click.argument("name")
@_results
@click.option("--output", type=FOLDER, default=Path("results/tables"), show_default=True)
def table(name: str, results: "Results", output: Path) -> None:
    """Write the table NAME, such as table_4, as LaTeX and HTML."""
    from clme.publish.drawing import write_table

    write_table(name, results, output)


@click.command()
@click.argument("name")
@_results
@click.option("--output", type=FOLDER, default=Path("results/figures"), show_default=True)
def figure(name: str, results: "Results", output: Path) -> None:
    """Draw the figure NAME, such as figure_3, as PDF, SVG and PNG."""
    from clme.publish.drawing import write_figure

    write_figure(name, results, output)


@click.command()
@_results
@click.option("--output", type=FOLDER, default=Path("results"), show_default=True)
def exhibits(results: "Results", output: Path) -> None:
    """Make all tables and figures at once, from result files alone: tables/ and figures/ of a folder."""
    from clme.publish.drawing import write_all

    click.echo(f"{output}: {', '.join(write_all(results, output))}")


@click.command()
@_results
@click.option("--output", type=FILE, required=True, help="Parquet file to be written.")
def published(results: "Results", output: Path) -> None:
    """Put the paper's numbers beside those of this run, cell by cell, with differences and intervals."""
    from clme.files import write_parquet
    from clme.publish.published import AGAINST, against

    write_parquet(output, against(results), schema=AGAINST, metadata={"protocol": results.study.protocol})


@click.command()
@_results
@click.option("--output", type=FILE, required=True, help="JSON file to be written.")
def numbers(results: "Results", output: Path) -> None:
    r"""Compute all numbers and claims of the paper's text: what \result{name} prints, by name."""
    import json

    from clme.files import write_text
    from clme.publish.numbers import numbers as compute

    write_text(output, json.dumps(compute(results), indent=1, ensure_ascii=False) + "\n")


@click.command()
@click.argument("exhibits", type=FILE, nargs=-1)
@click.option("--sources", type=FOLDER, default=Path("paper"), show_default=True, help="LaTeX sources.")
@click.option("--numbers", "numbers_file", type=FILE, required=True, help="From `clme numbers`.")
@click.option("--output", type=FILE, required=True, help="PDF file to be written.")
def paper(exhibits: tuple[Path, ...], sources: Path, numbers_file: Path, output: Path) -> None:
    """Typeset the paper with these EXHIBITS (tables as .tex, figures as .pdf)."""
    import json

    from clme.publish.paper import typeset

    typeset(sources, json.loads(numbers_file.read_text(encoding="utf-8")), exhibits, output)


@click.command()
@_results
@click.option("--output", type=FILE, required=True, help="HTML file to be written.")
def report(results: "Results", output: Path) -> None:
    """Write the report: one HTML file that holds all that it shows."""
    from clme.files import write_text
    from clme.publish.report import render

    write_text(output, render(results))


@click.command()
@_results
@click.option("--output", type=FILE, required=True, help="Zip file to be written.")
def archive(results: "Results", output: Path) -> None:
    """Pack all that tables and figures are made from, with checksums and an RO-Crate."""
    from clme.publish.archive import pack

    click.echo(f"{output}: {len(pack(results, output))} files of results")


@click.command()
@click.argument("archive", type=FILE)
@click.option("--output", type=FOLDER, default=Path("results"), show_default=True)
def unpack(archive: Path, output: Path) -> None:
    """Unpack an ARCHIVE of results, each file checked; then `clme exhibits` makes its tables and figures."""
    from clme.publish.archive import unpack as extract

    click.echo(f"{output}: {len(extract(archive, output))} files, as in the checksums")


@click.command()
@click.argument("benchmarks", type=FOLDER, default=Path("results/benchmarks"))
@click.option("--output", type=FILE, help="Parquet file to be written.")
def timings(benchmarks: Path, output: Path | None) -> None:
    """Print how the time of a run was spent, from the folder of Snakemake's BENCHMARKS."""
    from clme.files import write_parquet
    from clme.publish import timings as spent

    frame = spent.collect(benchmarks)
    if output is not None:
        write_parquet(output, frame, schema=spent.TIMINGS, metadata={})
    click.echo(spent.render(frame))
