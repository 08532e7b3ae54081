"""Measures editing and evaluation by this package against a plain reference, on one machine, in one run.

\b
    make bench                                    the embedded model, all rows, both datasets
    python benchmarks/engine --tiny llama         a random model, in minutes
    python benchmarks/engine --editors rome,grace --datasets cnle --cases 4

Ways of running are measured in turns: `together` (this engine, cases in batches, with all that rows share),
`alone` (this engine, one case after the other, without shortcuts), `plain` (tests/reference_rows.py: one
request at a time by hooks and `generate`); by --reduced, `together` in another precision; and, by --adapter,
an outside program that speaks the lines of JSON that benchmarks/engine/protocol.py describes. A first, slower
pass counts operations, tokens and memory.

FILE gets all that was measured, as JSON; the table goes to the terminal. benchmarks/engine/page.py makes
docs/performance.md and a plot of the JSON.
"""

import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psutil
import summary
from choice import Choice, chosen
from equality import compared
from inputs import ROOT, Dataset, Inputs, loading, spread
from protocol import SIDES, Worker

from clme.errors import UserError
from clme.files import write_text
from clme.progress import Progress
from clme.provenance import processor, versions


class Run:
    """One run of the benchmark.

    Args:
        inputs: what is run.
        runs: how often each is timed.
        apart: cases that the plain reference, and the engine alone, are measured on.
        threads: of each side.
        adapter: an outside side's program.
        reduced: a precision that this engine is run in, too.
        output: where the JSON goes after each step.
    """

    def __init__(
        self,
        inputs: Inputs,
        runs: int,
        apart: int,
        threads: int,
        adapter: Path | None,
        reduced: str | None,
        output: Path,
    ) -> None:
        self._inputs, self._runs, self._apart, self._threads = inputs, runs, apart, threads
        self._reduced = reduced
        self._scripts = SIDES | ({"adapter": adapter} if adapter is not None else {})
        self._scripts |= {"reduced": SIDES["engine"]} if reduced is not None else {}
        self._output = output
        self.found: dict[str, Any] = {
            "about": self._about(),
            "texts": {},
            "measured": [],
            "equality": [],
        }
        timed = sum(len(dataset.rows) for dataset in inputs.datasets)
        self._progress = Progress("benchmark", timed * (runs + 1) * (len(self._scripts) + 1), "measurement")

    def _about(self) -> dict[str, Any]:
        inputs = self._inputs
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": self._threads,
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "system": platform.platform(terse=True),
            "load_before": os.getloadavg()[0],
            "versions": versions(),
            "model": inputs.label,
            "protocol": inputs.protocol,
            "compute": inputs.compute.model_dump(),
            "reduced": self._reduced,
            "runs": self._runs,
            "fluency": inputs.fluency,
        }

    def all(self) -> None:
        """Count, then time, each dataset."""
        with self._progress:
            for dataset in self._inputs.datasets:
                for counting in (True, False):
                    workers = {
                        name: Worker(script, self._threads, counting=counting)
                        for name, script in self._scripts.items()
                    }
                    try:
                        self._dataset(dataset, workers, counting)
                    finally:
                        for worker in workers.values():
                            worker.close()

    def _dataset(self, dataset: Dataset, workers: dict[str, Worker], counting: bool) -> None:
        message = loading(self._inputs, dataset, self._threads, counting=counting)
        told = workers["engine"].ask(do="load", **message)
        self.found["texts"][dataset.name] = told.pop("texts")
        self.found["about"] |= told
        for name, worker in workers.items():
            if name != "engine":
                its = {"device": self.found["about"]["device"]}
                its |= {"dtype": self._reduced} if name == "reduced" else {}
                worker.ask(do="load", **message | its)
        everything = [case.case_id for case in dataset.cases]
        unedited = None
        apart = [case.case_id for case in spread(dataset.cases, self._apart)]
        for number in range(1 if counting else self._runs):
            for row in dataset.rows:
                ways = {"together": ("engine", everything, True), "alone": ("engine", apart, False)}
                ways |= {"reduced": ("reduced", everything, True)} if "reduced" in workers else {}
                ways |= {name: (name, apart, False) for name in ("plain", "adapter") if name in workers}
                answers = {}
                for way, (side, cases, together) in ways.items():
                    asked = {"row": row, "cases": cases, "together": together}
                    answers[way] = workers[side].ask(do="run", **asked)
                    self.found["measured"].append(
                        {
                            "dataset": dataset.name,
                            "row": row,
                            "way": way,
                            "run": "counted" if counting else number,
                            "cases": len(cases),
                            "parts": answers[way]["parts"],
                            "failed": answers[way]["failed"],
                        }
                    )
                    self._progress.advance()
                if counting:
                    if row == "none":
                        unedited = answers["plain"]["outputs"]
                    exact = {way: answer for way, answer in answers.items() if way != "reduced"}
                    self.found["equality"] += compared(dataset, row, exact, unedited)
                self._write()

    def _write(self) -> None:
        write_text(self._output, json.dumps(self.found, indent=1) + "\n")


@click.command(help=__doc__)
@chosen
@click.option("--cases", default=12, show_default=True, help="Cases of each dataset.")
@click.option("--apart", default=2, show_default=True, help="Of these: run alone and by the reference.")
@click.option("--runs", default=3, show_default=True, help="Times that each is timed; medians are shown.")
@click.option("--threads", default=os.cpu_count(), show_default=True, help="Of each side.")
@click.option(
    "--reduced", type=click.Choice(["bfloat16", "float16"]), help="Run this engine in this precision, too."
)
@click.option("--adapter", type=click.Path(path_type=Path, exists=True), help="An outside side's program.")
@click.option("--fluency/--no-fluency", default=True, show_default=True, help="Whether texts are sampled.")
@click.option("--needed", "only_needed", is_flag=True, help="List the files that are taken from results/.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ROOT / "docs/performance.json",
    show_default="docs/performance.json",
)
def main(
    choice: Choice,
    cases: int,
    apart: int,
    runs: int,
    threads: int,
    reduced: str | None,
    adapter: Path | None,
    fluency: bool,
    only_needed: bool,
    output: Path,
) -> None:
    """Measure, write the results, and print the table."""
    if only_needed:
        click.echo(" ".join(choice.needed()))
        return
    with tempfile.TemporaryDirectory() as folder:
        inputs = replace(choice.inputs(Path(folder), cases), fluency=fluency)
        start = time.monotonic()
        run = Run(inputs, runs, apart, threads, adapter, reduced, output)
        run.all()
    click.echo(summary.terminal(run.found))
    click.echo(f"{time.monotonic() - start:.0f} s -> {output}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"Error: {error}") from None
