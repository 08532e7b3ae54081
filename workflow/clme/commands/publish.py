"""`clme table`, `clme figure`, `clme numbers`, `clme paper`, `clme report`, `clme timings`, `clme record`."""

from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def _results(command: Any) -> Any:
    return click.option(
        "--results", type=FOLDER, default=Path("results"), show_default=True, help="Folder of results."
    )(command)


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
def table(name: str, results: Path, output: Path) -> None:
    """Write the table NAME, such as table_4, as LaTeX and HTML."""
    from clme.publish.exhibits import write_table
    from clme.publish.results import Results

    write_table(name, Results(results), output)


@click.command()
@click.argument("name")
@_results
@click.option("--output", type=FOLDER, default=Path("results/figures"), show_default=True)
def figure(name: str, results: Path, output: Path) -> None:
    """Draw the figure NAME, such as figure_3, as PDF, SVG and PNG."""
    from clme.publish.exhibits import write_figure
    from clme.publish.results import Results

    write_figure(name, Results(results), output)


@click.command()
@_results
@click.option("--output", type=FILE, required=True, help="JSON file to be written.")
def numbers(results: Path, output: Path) -> None:
    r"""Compute all numbers and claims of the paper's text: what \result{name} prints, by name."""
    import json

    from clme.files import write_text
    from clme.publish.numbers import numbers as compute
    from clme.publish.results import Results

    write_text(output, json.dumps(compute(Results(results)), indent=1, ensure_ascii=False) + "\n")


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
@click.option("--tables", multiple=True, help="Name of a table to be shown; may be repeated.")
@click.option("--figures", multiple=True, help="Name of a figure to be shown; may be repeated.")
@click.option("--output", type=FILE, required=True, help="HTML file to be written.")
def report(results: Path, tables: tuple[str, ...], figures: tuple[str, ...], output: Path) -> None:
    """Write the report: one HTML file that holds all that it shows."""
    from clme.files import write_text
    from clme.publish.report import render
    from clme.publish.results import Results

    write_text(output, render(Results(results), tables, figures))


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
