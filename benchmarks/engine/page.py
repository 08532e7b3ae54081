"""Makes docs/performance.md, and the plot in it, from what the benchmark has measured.

\b
    python benchmarks/engine/page.py
    python benchmarks/engine/page.py cnle.json csne.json --output docs/performance.md

Several FILEs must be of the same model and settings, each of other datasets: these can be measured side by
side. Without any it is docs/performance.json. The page goes beside the first one. What was measured on other
machines, in machines/ beside it, is compared in a section for each.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import summary
from equality import difference
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clme.errors import UserError
from clme.files import write_text

ROOT = Path(__file__).parents[2]


def page(
    found: Mapping[str, Any],
    equalities: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    scaling: Mapping[str, Any] | None,
    plot: str,
) -> str:
    """Return the page as Markdown.

    Args:
        found: what `benchmarks/engine` has written.
        equalities: what `equality.py` has written.
        others: what `benchmarks/engine` has written on other machines.
        scaling: what `scaling.py` has written, if it has.
        plot: the name of the plot's file, beside the page.
    """
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, undefined=StrictUndefined, keep_trailing_newline=True)
    compared = _compared(found)
    return environment.get_template("performance.md.j2").render(
        **compared,
        lengths=found["texts"],
        lines={name: list(_lines(found, name)) for name in compared["datasets"]},
        others=[_compared(one) for one in others],
        every_case=list(_every_case(equalities)),
        failed=list(_failed(found)),
        scaling=scaling,
        plot=plot,
    )


def _compared(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of each machine: how the ways of running compare."""
    ratios = summary.ratios(found)
    return {
        "about": found["about"],
        "cases": {one["way"]: one["cases"] for one in found["measured"]},
        "datasets": list(dict.fromkeys(one["dataset"] for one in found["measured"])),
        "ratios": ratios,
        "floors": list(_floors(ratios)),
        "memory": summary.memory(found),
        "equality": _equality(found["equality"]),
    }


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


def _every_case(equalities: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return for each comparison, dataset and way of running what was compared."""
    for one in equalities:
        keys = dict.fromkeys((each["dataset"], each["way"]) for each in one["equality"])
        for dataset, way in keys:
            chosen = [each for each in one["equality"] if (each["dataset"], each["way"]) == (dataset, way)]
            known = {"model": one["about"]["model"], "date": one["about"]["date"][:10], "dataset": dataset}
            changed = sum(each["changed"] or 0 for each in chosen)
            yield known | {"way": way, "changed": changed} | _equality(chosen)


def _equality(compared: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    listed = [
        {name: one[name] for name in ("dataset", "row", "way")}
        | {"case": each["case"], "what": difference(each)}
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


def merged(paths: Sequence[Path]) -> dict[str, Any]:
    """Put together what was measured on different datasets.

    Raises:
        UserError: the files are of different settings, or of the same dataset.
    """
    found: dict[str, Any] = json.loads(paths[0].read_text(encoding="utf-8"))
    for path in paths[1:]:
        other = json.loads(path.read_text(encoding="utf-8"))
        for name, value in other["about"].items():
            if name not in _OF_A_RUN and value != found["about"].get(name):
                raise UserError(
                    f"{path}: its {name} is {value}, that of {paths[0]} {found['about'].get(name)}"
                )
        twice = sorted(set(found["texts"]) & set(other["texts"]))
        if twice:
            raise UserError(f"{path}: {twice[0]} is measured in {paths[0]} too; give one file for a dataset")
        found["texts"] |= other["texts"]
        found["measured"] += other["measured"]
        found["equality"] += other["equality"]
    return found


_OF_A_RUN = ("date", "load_before", "matmul_peak")


@click.command(help=__doc__)
@click.argument(
    "measured",
    metavar="[FILE]...",
    nargs=-1,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Where the page goes.")
def main(measured: tuple[Path, ...], output: Path | None) -> None:
    """Write the page and the plot; scaling.json, equality/ and machines/ are of the first file's folder."""
    paths = measured or (ROOT / "docs/performance.json",)
    found = merged(paths)
    output = output or paths[0].with_suffix(".md")
    curves = paths[0].with_name("scaling.json")
    scaling = json.loads(curves.read_text(encoding="utf-8")) if curves.exists() else None
    equalities, others = (
        [json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths[0].parent.glob(pattern))]
        for pattern in ("equality/*.json", "machines/*.json")
    )
    plot = output.with_suffix(".svg")
    summary.plot(found, plot)
    write_text(output, page(found, equalities, others, scaling, plot.name))
    click.echo(output)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"Error: {error}") from None
