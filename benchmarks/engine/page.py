"""Makes docs/performance.md from what the benchmark has measured.

python benchmarks/engine/page.py [docs/performance.json]
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import summary
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clme.files import write_text

ROOT = Path(__file__).parents[2]


def page(found: Mapping[str, Any], scaling: Mapping[str, Any] | None) -> str:
    """Return the page as Markdown.

    Args:
        found: what `benchmarks/engine` has written.
        scaling: what `scaling.py` has written, if it has.
    """
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, undefined=StrictUndefined, keep_trailing_newline=True)
    datasets = list(dict.fromkeys(one["dataset"] for one in found["measured"]))
    ratios = summary.ratios(found)
    return environment.get_template("performance.md.j2").render(
        about=found["about"],
        cases={one["way"]: one["cases"] for one in found["measured"]},
        datasets=datasets,
        lengths=found["texts"],
        ratios=ratios,
        floors=list(_floors(ratios)),
        lines={name: list(_lines(found, name)) for name in datasets},
        equality=_equality(found),
        failed=list(_failed(found)),
        scaling=scaling,
    )


def _floors(ratios: list[dict[str, Any]]) -> Iterator[str]:
    """Say of each missed target how far it is from the floor that the operations set."""
    for one in ratios:
        if one["ratio"] < one["target"]:
            needed, above = one["target"] / one["ratio"], 1 / one["share"]
            yield (
                f"- {one['name']}: {needed:.1f} times too slow for its target, {above:.1f} times above the"
                " floor (the time of its operations at the fastest matrix product)."
            )


def _lines(found: Mapping[str, Any], dataset: str) -> Iterator[dict[str, str]]:
    frame = summary.per_case(found)
    for line in frame[frame["dataset"] == dataset].to_dict("records"):
        sums = {name: line[f"edit_{name}"] + line[f"both_{name}"] for name in ("flops", "tokens")}
        yield {
            "row": str(line["row"]),
            "way": str(line["way"]),
            **{name: _number(line[name], 3) for name in ("edit", "evaluation", "fluency")},
            "total": _number(line["edit"] + line["both"], 3),
            "tokens": _number(sums["tokens"], 0),
            "operations": _number(sums["flops"] / 1e9, 2),
            "edit_memory": _number(line["edit_memory"], 0),
            "both_memory": _number(line["both_memory"], 0),
        }


def _number(value: float, places: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{places}f}"


def _equality(found: Mapping[str, Any]) -> dict[str, Any]:
    compared = found["equality"]
    listed = [
        {name: one[name] for name in ("dataset", "row", "way")}
        | {"case": each["case"], "what": summary.difference(each)}
        for one in compared
        for each in one["differing"]
    ]
    return {
        "cases": sum(one["cases"] for one in compared),
        "prompts": sum(one["prompts"] for one in compared),
        "differing": sum(one["cases_differing"] for one in compared),
        "listed": listed,
    }


def _failed(found: Mapping[str, Any]) -> Iterator[str]:
    for one in found["measured"]:
        if one["run"] == "counted":
            for case, reason in one["failed"].items():
                yield f"{one['dataset']} {one['row']}, {one['way']}: {case}: {reason}"


@click.command(help=__doc__)
@click.argument(
    "measured",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=ROOT / "docs/performance.json",
)
def main(measured: Path) -> None:
    """Write the page beside the JSON; scaling.json is taken from the same folder, if it is there."""
    found = json.loads(measured.read_text(encoding="utf-8"))
    curves = measured.with_name("scaling.json")
    scaling = json.loads(curves.read_text(encoding="utf-8")) if curves.exists() else None
    write_text(measured.with_suffix(".md"), page(found, scaling))
    click.echo(measured.with_suffix(".md"))


if __name__ == "__main__":
    main()
