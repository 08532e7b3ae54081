"""All tables and figures by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from clme.errors import UserError
from clme.files import write_text
from clme.publish import proficiency, tables
from clme.publish.figures import costs, style, tradeoff
from clme.publish.results import Results

Made = TypeVar("Made")

TABLES: Mapping[str, Callable[[Results], tables.Table]] = {
    "table_4": proficiency.table_4,
    "table_6": proficiency.table_6,
}

FIGURES: Mapping[str, Callable[[Results], Figure]] = {
    "figure_3": costs.figure_3,
    "figure_4": costs.figure_4,
    "figure_tradeoff": tradeoff.figure_tradeoff,
}


def write_table(name: str, results: Results, folder: Path) -> None:
    """Write ``{name}.tex`` and ``{name}.html``.

    Raises:
        UserError: there is no such table, or results that it needs are missing.
    """
    table = _named(name, TABLES, "table")(results)
    write_text(folder / f"{name}.tex", tables.latex(table))
    write_text(folder / f"{name}.html", tables.html(table))


def write_figure(name: str, results: Results, folder: Path) -> None:
    """Write ``{name}.pdf``, ``{name}.svg`` and ``{name}.png``.

    Raises:
        UserError: there is no such figure, or results that it needs are missing.
    """
    draw = _named(name, FIGURES, "figure")
    with style.styled():
        style.save(draw(results), folder / name)


def _named(name: str, known: Mapping[str, Made], kind: str) -> Made:
    if name not in known:
        raise UserError(f"{kind} {name!r}: there is none; there are {', '.join(known)}")
    return known[name]
