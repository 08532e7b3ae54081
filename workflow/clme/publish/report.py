"""The report: one HTML file with all tables and figures, for readers without this repository."""

import base64
from collections.abc import Sequence

from clme.publish.exhibits import FIGURES, TABLES
from clme.publish.numbers import numbers
from clme.publish.results import Results
from clme.publish.tables import environment


def render(results: Results, tables: Sequence[str], figures: Sequence[str]) -> str:
    """Return the page.

    Args:
        results: what it is about.
        tables: names of tables.
        figures: names of figures; drawn before, in ``figures/`` of the results.
    """
    pictures = []
    for name in figures:
        svg = (results.folder / "figures" / f"{name}.svg").read_bytes()
        address = "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
        pictures.append({"name": name, "caption": FIGURES[name].__doc__, "address": address})
    return (
        environment(autoescape=True)
        .get_template("report.html")
        .render(
            numbers=numbers(results),
            tables=[TABLES[name](results) for name in tables],
            figures=pictures,
        )
    )
