"""Writes exhibits as files."""

from pathlib import Path

from clme.files import write_text
from clme.publish import exhibits, tables
from clme.publish.figures import style
from clme.publish.results import Results


def write_table(name: str, results: Results, folder: Path) -> None:
    """Write ``{name}.tex`` and ``{name}.html``.

    Raises:
        UserError: there is no such table, or results that it needs are missing.
    """
    table = exhibits.named(name, exhibits.TABLES).make(results)
    write_text(folder / f"{name}.tex", tables.latex(table))
    write_text(folder / f"{name}.html", tables.html(table))


def write_figure(name: str, results: Results, folder: Path) -> None:
    """Write ``{name}.pdf``, ``{name}.svg`` and ``{name}.png``.

    Raises:
        UserError: there is no such figure, or results that it needs are missing.
    """
    exhibit = exhibits.named(name, exhibits.FIGURES)
    with style.styled():
        style.save(exhibit.make(results), folder / name)


def write_all(results: Results, folder: Path) -> list[str]:
    """Write all exhibits of the study to ``tables/`` and ``figures/`` of a folder; return their names."""
    chosen_tables, chosen_figures = exhibits.tables(results.study), exhibits.figures(results.study)
    for name in chosen_tables:
        write_table(name, results, folder / "tables")
    for name in chosen_figures:
        write_figure(name, results, folder / "figures")
    return [*chosen_tables, *chosen_figures]
