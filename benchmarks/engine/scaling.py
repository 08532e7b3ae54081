"""Measures how this engine's time and memory grow, and fits the cost model of `clme plan` to it.

\b
    python benchmarks/engine/scaling.py                         docs/scaling.json, docs/scaling.svg
    python benchmarks/engine/scaling.py --cases 10,20 --batches 2,4 --widths 64

Curves on random models: over the number of cases (in batches of 32), over the cases of a batch (as many cases
as the largest has), and over the model's width (16 cases in one batch). The cost model says that seconds are
operations / speed + values * handling + passes * latency, all three counted by `clme.study.costs`: values are
the numbers that enter and leave matrix products. Speed, handling and latency are fitted.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from inputs import ROOT, Inputs, loading, of_tests
from protocol import Worker
from scipy.optimize import nnls

from clme.editors import registry
from clme.evaluation.protocol import PROTOCOLS
from clme.files import write_text
from clme.models.text import Tokenizer
from clme.progress import Progress
from clme.provenance import processor
from clme.study import costs
from clme.study.cases import encode

ROWS = ("none", "ft_l", "rome", "grace")
CURVES = {"cases": "number of cases", "batch": "cases in a batch", "width": "width of the model"}
LABELS = {"seconds": "seconds", "megabytes": "peak memory above the model (MB)"}
# In random models hardly a token is the expected one.
MISSED = 1.0


def points(cases: Sequence[int], batches: Sequence[int], widths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield what is measured: the curve, the place on it, and all sizes."""
    yield from ({"curve": "cases", "at": n, "cases": n, "batch": 32, "width": 64} for n in cases)
    yield from ({"curve": "batch", "at": n, "cases": max(batches), "batch": n, "width": 64} for n in batches)
    yield from ({"curve": "width", "at": n, "cases": 16, "batch": 16, "width": n} for n in widths)


def measured(point: Mapping[str, Any], folder: Path, threads: int) -> Iterator[dict[str, Any]]:
    """Yield a point's seconds and peak memory by row, with the operations and passes that are expected."""
    inputs = of_tests("llama", folder, ROWS, point["cases"], width=point["width"])
    compute = inputs.compute.model_copy(
        update={"batch_cases": point["batch"], "edit_tokens": 10**6, "read_tokens": 10**6}
    )
    (dataset,) = inputs.datasets
    worker = Worker(Path(__file__).with_name("engine_side.py"), threads, counting=True)
    try:
        message = loading(inputs, dataset, threads, counting=False) | {"compute": compute.model_dump()}
        worker.ask(do="load", **message)
        for row in ROWS:
            names = [case.case_id for case in dataset.cases]
            parts = worker.ask(do="run", row=row, cases=names, together=True)["parts"]
            wanted = [parts[name] for name in ("edit", "both") if name in parts]
            yield {
                **point,
                "row": row,
                "seconds": sum(part["seconds"] for part in wanted),
                "megabytes": max(part["peak_memory_mb"] for part in wanted),
                **expected(inputs, row, point["batch"]),
            }
    finally:
        worker.close()


def expected(inputs: Inputs, row: str, batch: int) -> dict[str, float]:
    """Return the operations, values and passes that the cost model counts for a row."""
    (dataset,) = inputs.datasets
    config = json.loads((inputs.model / "config.json").read_text(encoding="utf-8"))
    shape = costs.Shape.of_config(config)
    tokenizer = Tokenizer.load(inputs.model)
    encoded = encode(dataset.cases, tokenizer, config["max_position_embeddings"], inputs.model)
    texts = costs.Texts.of_cases(encoded)
    about = dataset.rows[row]
    editor = registry.configured(
        row, protocol=inputs.protocol, task=dataset.task, overrides=about["hyperparameters"], seed=0
    )
    protocol = PROTOCOLS[inputs.protocol]
    if row in costs.CODEBOOKS:
        work = costs.fired(shape, texts, protocol, MISSED) + costs.looked_up(shape, texts, editor.config)
    else:
        work = costs.evaluation(shape, texts, protocol, MISSED)
    work += costs.EDITS[row](shape, texts, editor.config)
    count = len(encoded)
    return {
        "operations": count * work.operations(shape, texts.prompts / (2 + texts.neighbours)),
        "values": count * work.values(shape),
        "passes": math.ceil(count / batch) * work.passes * shape.layers,
    }


def fitted(found: pd.DataFrame) -> dict[str, float]:
    """Fit the model to the seconds of all points, each weighing as much in proportion.

    Returns:
        ``speed`` in operations per second, ``handling`` in seconds of a value, ``latency`` in seconds of a
        layer's pass, and the median and the largest relative ``error``.
    """
    counts = found[["operations", "values", "passes"]].to_numpy() / found[["seconds"]].to_numpy()
    scale = counts.max(axis=0)
    scaled, _ = nnls(counts / scale, np.ones(len(counts)))
    per_operation, per_value, per_pass = scaled / scale
    errors = np.abs(counts @ (scaled / scale) - 1)
    return {
        "speed": 1 / per_operation if per_operation else math.inf,
        "handling": float(per_value),
        "latency": float(per_pass),
        "median_error": float(np.median(errors)),
        "largest_error": float(errors.max()),
    }


def plot(found: pd.DataFrame, path: Path) -> None:
    """Draw seconds and memory over each curve, by row."""
    matplotlib.rcParams["svg.hashsalt"] = "clme"
    figure, axes = plt.subplots(
        len(LABELS), len(CURVES), figsize=(11, 6), squeeze=False, layout="constrained"
    )
    for column, (curve, across) in enumerate(CURVES.items()):
        for line, (measure, label) in enumerate(LABELS.items()):
            axis = axes[line, column]
            for row, part in found[found["curve"] == curve].groupby("row", sort=False):
                axis.plot(part["at"], part[measure], marker="o", label=row)
            axis.set(xscale="log", xlabel=across, ylabel=label)
            axis.set_yscale("log", nonpositive="mask")
            places = sorted(set(found.loc[found["curve"] == curve, "at"]))
            axis.set_xticks(places, labels=list(map(str, places)))
            axis.xaxis.minorticks_off()
    axes[0, 0].legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _numbers(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter("expected numbers with commas between") from error


@click.command(help=__doc__)
@click.option("--cases", default="10,30,100,300,1000", show_default=True, callback=_numbers)
@click.option("--batches", default="1,2,4,8,16,32", show_default=True, callback=_numbers)
@click.option("--widths", default="64,128,256,512", show_default=True, callback=_numbers)
@click.option("--threads", default=os.cpu_count(), show_default=True)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ROOT / "docs/scaling.json",
    show_default="docs/scaling.json",
)
def main(cases: list[int], batches: list[int], widths: list[int], threads: int, output: Path) -> None:
    """Measure all points, fit, and write both."""
    rows: list[dict[str, Any]] = []
    wanted = list(points(cases, batches, widths))
    with Progress("scaling", len(wanted), "point") as progress:
        for point in wanted:
            with tempfile.TemporaryDirectory() as folder:
                rows += measured(point, Path(folder), threads)
            progress.advance()
    found = pd.DataFrame(rows)
    about = {"processor": processor(), "threads": threads, "load": os.getloadavg()[0]}
    result = {"about": about, "fit": fitted(found), "points": rows}
    write_text(output, json.dumps(result, indent=1) + "\n")
    plot(found, output.with_suffix(".svg"))
    click.echo(found.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    click.echo(json.dumps(result["fit"], indent=1))


if __name__ == "__main__":
    main()
