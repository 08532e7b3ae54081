"""The report: one HTML file with all tables and figures and a browser of the cases, for reading offline."""

import base64
import json
from importlib import resources
from typing import Any

from clme.files import read_metadata
from clme.publish import exhibits
from clme.publish.browser import content, pack
from clme.publish.numbers import numbers
from clme.publish.results import Results
from clme.publish.tables import environment, flat


def render(results: Results) -> str:
    """Return the page. Figures must have been drawn, in ``figures/`` of the results.

    Sorting and paging are DataTables', which the package itables brings along.
    """
    bundle = resources.files("itables") / "html"
    script = (bundle / "dt_bundle.js").read_bytes()
    tables = [exhibit.make(results) for exhibit in exhibits.tables(results.study).values()]
    templates = environment(autoescape=True)
    templates.filters["flat"] = flat
    return templates.get_template("report.html").render(
        numbers=numbers(results),
        tables=tables,
        figures=[
            {"name": name, "caption": exhibit.caption, "address": _picture(results, name)}
            for name, exhibit in exhibits.figures(results.study).items()
        ],
        provenance=_provenance(results),
        cases=pack(content(results)),
        datatables={
            "style": (bundle / "dt_bundle.css").read_text(encoding="utf-8"),
            "address": "data:text/javascript;base64," + base64.b64encode(script).decode(),
        },
        style=_asset("report.css"),
        script=_asset("report.js"),
    )


def _asset(name: str) -> str:
    return (resources.files("clme.publish") / "templates" / name).read_text(encoding="utf-8")


def _picture(results: Results, name: str) -> str:
    drawn = (results.folder / "figures" / f"{name}.svg").read_bytes()
    return "data:image/svg+xml;base64," + base64.b64encode(drawn).decode()


def _provenance(results: Results) -> list[tuple[str, str]]:
    """Return what made the results, as edit jobs have recorded it."""
    path = exhibits.inputs(results.study, "edits")[0]
    metadata = read_metadata(results.folder / path)
    found: dict[str, Any] = {**json.loads(metadata["versions"]), **json.loads(metadata.get("hardware", "{}"))}
    return [(name, str(value)) for name, value in found.items()]
