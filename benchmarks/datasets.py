"""Builds datasets of the paper's size, and parts of it, out of synthetic rows and random vectors.

    python benchmarks/datasets.py --encoder results/encoders/minilm

Each stage is the command that the workflow calls, in a process of its own; its time and its peak of resident
memory go to docs/datasets-scaling.csv, and from there to a plot and to a table for docs/datasets.md. What
only runs a neural network over texts (`grade`, `embed`) takes as long as the network does, and is left out;
of grading by a service, all is measured but the service, which answers at once (`asking.py`).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import click
import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from synthetic import (
    SIZES,
    Size,
    apart,
    write_corpus,
    write_grades,
    write_rephrases,
    write_vectors,
)

Measured = tuple[str, int, float, float, float]
"""A stage, the rows it reads, seconds, seconds of the CPU, megabytes."""

ROOT = Path(__file__).parents[1]
KEYS = ["task", "stage", "part"]
COLUMNS = [*KEYS, "rows", "seconds", "cpu_seconds", "megabytes"]
CLME = "from clme.cli import main; main()"
LABELS = {"cpu_seconds": "seconds of the CPU", "megabytes": "peak memory (MB)"}
SOURCES = {"cnle": "conala", "csne": "codesearchnet"}


def measured(stage: str, *arguments: object) -> tuple[float, float, float]:
    """Run `clme dataset STAGE`; returns its seconds, those of the CPU, and its peak memory in MB (10^6)."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", CLME, "dataset", stage, *map(str, arguments)])
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
    names = ("extract", "filter", "grade", "deduplicate", "split", "rephrase", "neighbours", "cases")
    files = {name: folder / f"{name}.parquet" for name in names}

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
    apart(write_rephrases, files["split"], files["rephrase"])
    apart(write_vectors, folder / "embeddings.npy", size.different)
    inputs = [files["split"], files["rephrase"], folder / "embeddings.npy"]
    yield run("neighbours", size.targeted, *inputs, *settings)
    published = ROOT / "paper/published/table3.csv"
    yield run("cases", size.targeted, folder, *about, *embedding, "--published", published)
    yield run("rephrase", size.targeted, files["split"], *about, *embedding)


def ask(size: Size) -> Iterator[Measured]:
    """Have a service grade all pairs that answers at once."""
    program = [sys.executable, str(Path(__file__).with_name("asking.py")), str(size.pairs)]
    said = subprocess.run(program, stdout=subprocess.PIPE, check=True, text=True).stdout
    for step, *figures in map(json.loads, said.splitlines()):
        yield step, size.pairs, *figures


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
            for number, (stage, lines) in enumerate(
                found[found["task"] == task].groupby("stage", sort=False)
            ):
                axis.plot(lines["part"], lines[measure], marker="os^"[number // 10], label=stage)
            axis.set(ylim=0, xlim=0, title=f"{task.upper()}: {label}")
        axes[row, 1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    for axis in axes[-1]:
        axis.set_xlabel("part of the paper's size")
    figure.savefig(path, metadata={"Date": None})


def table(found: pd.DataFrame) -> str:
    """Return the measurements as Markdown: the CPU's seconds by size; at the largest, seconds and memory."""
    parts: Sequence[float] = sorted(found["part"].unique())
    lines = ["| dataset | stage | rows |" + "".join(f" CPU s at {part:g} |" for part in parts) + " s | MB |"]
    lines.append("| --- | --- | ---: |" + " ---: |" * (len(parts) + 2))
    for (task, stage), rows in found.groupby(["task", "stage"], sort=False):
        at = rows.set_index("part")
        cpu = ["" if pd.isna(value) else f" {value:.0f}" for value in at["cpu_seconds"].reindex(parts)]
        last = at.loc[at.index.max()]
        lines.append(
            f"| {task.upper()} | {stage} | {last['rows']:,.0f} |{' |'.join(cpu)} | {last['seconds']:,.0f} |"
            f" {last['megabytes']:,.0f} |"
        )
    return "\n".join(lines)


def keep(row: tuple[object, ...], path: Path) -> pd.DataFrame:
    """Put a measurement into the file, in place of the last one of the same; returns all."""
    new = pd.DataFrame([row], columns=COLUMNS)
    found = pd.concat([pd.read_csv(path), new]) if path.exists() else new
    found = found.drop_duplicates(KEYS, keep="last").sort_values(["task", "part"], kind="stable")
    found.to_csv(path, index=False, lineterminator="\n")
    return found


@click.command(help=__doc__)
@click.option("--encoder", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--task", "tasks", type=click.Choice(list(SIZES)), multiple=True, default=list(SIZES))
@click.option("--part", "parts", type=float, multiple=True, default=(0.25, 0.5, 1.0), show_default=True)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=ROOT / "docs")
def main(encoder: Path, tasks: tuple[str, ...], parts: tuple[float, ...], output: Path) -> None:
    """Measure the stages, write each result at once, and print the table of all."""
    results = output / "datasets-scaling.csv"
    for task, part in product(tasks, parts):
        with tempfile.TemporaryDirectory() as folder:
            size = SIZES[task].part(part)
            steps = ask(size) if task == "service" else build(task, size, encoder, Path(folder))
            for stage, count, *figures in steps:
                row = (task, stage, part, count, *(round(figure, 1) for figure in figures))
                click.echo(row)
                keep(row, results)
    found = pd.read_csv(results)
    plot(found, output / "datasets-scaling.svg")
    click.echo(table(found))


if __name__ == "__main__":
    main()
