"""Builds datasets of the paper's size, and parts of it, out of synthetic rows and random vectors.

    python benchmarks/datasets.py --encoder results/encoders/minilm

Each stage is the command that the workflow calls, in a process of its own; its time and its peak of resident
memory go to docs/datasets-scaling.csv, and from there to a plot and to a table for docs/datasets.md. What
only runs a neural network over texts (`grade`, `embed`) takes as long as the network does, and is left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import click
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clme.datasets.schema import GRADED, PAIRS
from clme.files import read_parquet, write_parquet

Measured = tuple[str, int, float, float, float]
"""A stage, the rows it reads, seconds, seconds of the CPU, megabytes."""

ROOT = Path(__file__).parents[1]
PARTS = (0.25, 0.5, 1.0)
WIDTH = 768
LABELS = {"seconds": "seconds", "megabytes": "peak memory (MB)"}


@dataclass(frozen=True)
class Size:
    """How many rows the paper's dataset has at its stages, at a part of it.

    Attributes:
        pairs: of the source.
        relevant: pairs that the grader keeps; all for CSNE.
        different: of these, pairs with different inputs.
        targeted: of these.
    """

    pairs: int
    relevant: int
    different: int
    targeted: int

    def part(self, fraction: float) -> "Size":
        """Return a part of it."""
        return Size(*(round(number * fraction) for number in vars(self).values()))


# Section III-C; CSNE's pairs are those that are left.
SIZES = {
    "cnle": Size(594_000, 170_487, 126_330, 21_055),
    "csne": Size(334_356, 334_356, 334_356, 16_020),
}
SOURCES = {"cnle": "conala", "csne": "codesearchnet"}


def intents(size: Size) -> Iterator[str]:
    """Yield an intent for each pair; of those that the grader keeps, as many differ as in the paper."""
    verbs = ("get", "sort", "create", "convert", "remove", "check whether", "count", "replace")
    nouns = ("list", "string", "dictionary", "data frame", "array", "file", "column", "date")
    phrases = list(product(verbs, nouns, nouns))
    for number in range(size.pairs):
        value = number % size.different
        verb, noun, other = phrases[value % len(phrases)]
        yield f"{verb} the {noun} of each {other} by its value {value}"


def function(number: int) -> str:
    """Return a function of the length that CodeSearchNet's have on average (about 1,000 characters)."""
    first, second = f"value_{number % 97}", f"count_{number % 89}"
    body = "".join(
        f"    if {first} > {step}:\n        {second} = {second} + items[{first} % len(items)] * {step}\n"
        for step in range(10)
    )
    head = f'def collect_{number}(items, {first}):\n    """Return the total of {number} items."""\n'
    return f"{head}    {second} = 0\n{body}    return {second}\n"


def write_corpus(path: Path, task: str, size: Size) -> None:
    """Write rows in the source's public layout."""
    numbers = range(size.pairs)
    if task == "cnle":
        snippets = [f"values.sort(key=lambda item: item[{number}])" for number in numbers]
        frame = pd.DataFrame({"id": numbers, "intent": list(intents(size)), "snippet": snippets})
    else:
        frame = pd.DataFrame(
            {
                "language": "python",
                "whole_func_string": [function(number) for number in numbers],
                "func_documentation_string": [f"Return the total of {number} items." for number in numbers],
                "split_name": ["test" if number < size.targeted else "train" for number in numbers],
                "func_code_url": [f"https://example.org/{number}" for number in numbers],
            }
        )
    frame.to_parquet(path)


def apart(make: Callable[..., None], *arguments: object) -> None:
    """Call in a process of its own: the peak of a process counts as its children's, too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(make, *arguments).result()


def measured(stage: str, *arguments: object) -> tuple[float, float, float]:
    """Run `clme dataset STAGE`; returns its seconds, those of the CPU, and its peak memory in MB (10^6)."""
    program = "from clme.cli import main; main()"
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", program, "dataset", stage, *map(str, arguments)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{stage} failed")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def build(task: str, size: Size, encoder: Path, folder: Path) -> Iterator[Measured]:
    """Run all stages, on rows made for them."""
    (folder / "corpus").mkdir()
    apart(write_corpus, folder / "corpus/train.parquet", task, size)
    settings = ["--settings", json.dumps({"task": task, "source": SOURCES[task], "encoder": "minilm"})]
    about, embedding = ["--name", task, *settings], ["--encoder", encoder]
    files = {name: folder / f"{name}.parquet" for name in ("extract", "filter", "grade", "deduplicate")}
    files |= {name: folder / f"{name}.parquet" for name in ("split", "rephrase", "neighbours", "cases")}

    def run(stage: str, rows: int, *arguments: object) -> Measured:
        return stage, rows, *measured(stage, *arguments, "--output", files[stage])

    yield run("extract", size.pairs, folder / "corpus", *about)
    yield run("filter", size.pairs, files["extract"], *settings, *embedding)
    last = files["filter"]
    if task == "cnle":
        last = files["grade"]
        apart(write_grades, files["filter"], last, size.relevant)
    yield run("deduplicate", size.pairs, last)
    yield run("split", size.different, files["deduplicate"], *about)
    yield run("rephrase", size.targeted, files["split"], *about, *embedding)
    apart(write_vectors, folder / "embeddings.npy", size.different)
    inputs = [files["split"], files["rephrase"], folder / "embeddings.npy"]
    yield run("neighbours", size.targeted, *inputs, *settings)
    published = ROOT / "paper/published/table3.csv"
    yield run("cases", size.targeted, folder, *about, *embedding, "--published", published)


def write_grades(pairs: Path, output: Path, relevant: int) -> None:
    """Write grades of which the first `relevant` are the highest."""
    from clme.datasets.grading import LEVELS  # which loads torch: the parent stays small without

    frame = read_parquet(pairs, schema=PAIRS)
    grades = [LEVELS[-1] if number < relevant else LEVELS[0] for number in range(len(frame))]
    agreement = dict.fromkeys(("pairs", "labelled", "kept", "both"), 0)
    agreement |= dict.fromkeys(("kappa", "linear", "quadratic", "kept_kappa"), 0)
    graded = frame.assign(similarity=0.0, grade=grades)
    write_parquet(output, graded, schema=GRADED, metadata={"agreement": json.dumps(agreement)})


def write_vectors(path: Path, rows: int) -> None:
    """Write random unit vectors [rows, WIDTH]."""
    found = np.random.default_rng(0).standard_normal((rows, WIDTH), dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.save(path, found)


def plot(found: pd.DataFrame, path: Path) -> None:
    """Draw time and memory of each stage over the part of the paper's size."""
    matplotlib.rcParams["svg.hashsalt"] = "clme"
    tasks = found["task"].unique()
    figure, axes = plt.subplots(
        len(tasks), 2, figsize=(9, 3 * len(tasks)), sharex=True, squeeze=False, layout="constrained"
    )
    for row, task in enumerate(tasks):
        for column, (measure, label) in enumerate(LABELS.items()):
            axis = axes[row, column]
            for stage, lines in found[found["task"] == task].groupby("stage", sort=False):
                axis.plot(lines["part"], lines[measure], marker="o", label=stage)
            axis.set(ylim=0, xlim=0, title=f"{task.upper()}: {label}")
        axes[row, 1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for axis in axes[-1]:
        axis.set_xlabel("part of the paper's size")
    figure.savefig(path, metadata={"Date": None})


def table(found: pd.DataFrame) -> str:
    """Return the measurements as Markdown: seconds at each size, and memory at the largest."""
    parts: Sequence[float] = sorted(found["part"].unique())
    lines = ["| dataset | stage | rows |" + "".join(f" s at {part:g} |" for part in parts) + " MB |"]
    lines.append("| --- | --- | ---: |" + " ---: |" * (len(parts) + 1))
    for (task, stage), rows in found.groupby(["task", "stage"], sort=False):
        at = rows.set_index("part")
        seconds = "".join(f" {at['seconds'][part]:.1f} |" for part in parts)
        last = at.loc[parts[-1]]
        lines.append(
            f"| {task.upper()} | {stage} | {last['rows']:,.0f} |{seconds} {last['megabytes']:,.0f} |"
        )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--encoder", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=ROOT / "docs")
def main(encoder: Path, output: Path) -> None:
    """Measure all stages at all sizes, write the results and print the table."""
    rows = []
    for (task, size), part in product(SIZES.items(), PARTS):
        with tempfile.TemporaryDirectory() as folder:
            for stage, count, *figures in build(task, size.part(part), encoder, Path(folder)):
                rows.append((task, stage, part, count, *(round(figure, 1) for figure in figures)))
                click.echo(rows[-1])
    columns = ["task", "stage", "part", "rows", "seconds", "cpu_seconds", "megabytes"]
    found = pd.DataFrame(rows, columns=columns)
    found.to_csv(output / "datasets-scaling.csv", index=False, lineterminator="\n")
    plot(found, output / "datasets-scaling.svg")
    click.echo(table(found))


if __name__ == "__main__":
    main()
