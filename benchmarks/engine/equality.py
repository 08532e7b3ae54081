"""Compares greedy outputs with the plain reference's, case for case; nothing is timed.

\b
    make equality                                                  all cases of the study in config.yaml
    python benchmarks/engine/equality.py --datasets cnle           of one of its datasets
    python benchmarks/engine/equality.py --tiny qwen2 --cases 20   20 of a random model, under all rows

The study's cases are those of all its folds, in the batches of its jobs; what the editors need is taken from
results/. The reference edits one request at a time, which takes about three minutes of a core for each case.
What was compared goes into a file of FOLDER for each dataset, as JSON, after each row; `page.py` shows all
such files of docs/equality.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from choice import Choice, chosen
from inputs import ROOT, Dataset, Inputs, loading, spread
from protocol import SIDES, Worker

from clme.errors import UserError
from clme.files import write_text
from clme.progress import Progress
from clme.provenance import processor, versions

TIE = 1e-4
"""Two logits that are not further apart are a tie: rounding decides which one is taken."""


Outputs = Mapping[str, Sequence[Sequence[int]]]


def compared(
    dataset: Dataset, row: str, answers: Mapping[str, Mapping[str, Any]], unedited: Outputs | None
) -> list[dict[str, Any]]:
    """Compare each way of running with the plain reference, on the cases that both have.

    Args:
        dataset: whose cases they are.
        row: the editor.
        answers: the sides' answers, by way of running; see `protocol.py`.
        unedited: what the reference says without an edit, if that is known.

    Returns:
        For each way, how many cases and prompts were compared; in how many cases the edit changes what the
        reference says to the request's prompt; and the prompts whose outputs are not the reference's: where,
        and the margin of its choice there.
    """
    plain = answers["plain"]
    found = []
    for way, answer in answers.items():
        if way == "plain" or not answer.get("outputs"):
            continue
        names = [name for name in plain["outputs"] if name in answer["outputs"]]
        kept = [name for name in names if name not in answer["failed"]]
        differing = [one for name in kept for one in _differing(name, answer["outputs"][name], plain)]
        found.append(
            {
                "dataset": dataset.name,
                "fold": dataset.fold,
                "row": row,
                "way": way,
                "cases": len(kept),
                "prompts": sum(len(plain["outputs"][name]) for name in kept),
                "changed": unedited and sum(plain["outputs"][name][0] != unedited[name][0] for name in kept),
                "cases_differing": len({one["case"] for one in differing if not one["tie"]}),
                "differing": differing,
            }
        )
    return found


def _differing(
    name: str, outputs: Sequence[Sequence[int]], plain: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for number, (ours, theirs) in enumerate(zip(outputs, plain["outputs"][name], strict=True)):
        if list(ours) == list(theirs):
            continue
        place = next(
            (at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None
        )
        if place is None:  # one goes on where the other has ended
            yield {"case": name, "prompt": number, "place": min(len(ours), len(theirs)), "tie": False}
            continue
        margin = plain["margins"][name][number][place]
        second = plain["runners_up"][name][number][place] == ours[place]
        yield {
            "case": name,
            "prompt": number,
            "place": place,
            "margin": margin,
            "second": second,
            "tie": second and margin <= TIE,
        }


def difference(one: Mapping[str, Any]) -> str:
    """Say where an output differs from the reference's."""
    what = ("prompt", "rephrase")[one["prompt"]] if one["prompt"] < 2 else f"neighbour {one['prompt'] - 1}"
    if "margin" not in one:
        return f"{what}: one output ends at token {one['place'] + 1}"
    where = f"{what}, token {one['place'] + 1}: margin {one['margin']:.1e}"
    return where + (" (a tie)" if one["tie"] else "" if one["second"] else ", not the second likeliest")


def check(inputs: Inputs, apart: int, threads: int, folder: Path) -> list[dict[str, Any]]:
    """Run all rows and cases in batches, and some cases alone; compare them with the plain reference.

    Args:
        inputs: what is run.
        apart: how many cases of each fold are run alone as well.
        threads: of each side.
        folder: where it is written after each row, to a file for each dataset.

    Returns:
        What `compared` says of each row and fold.
    """
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "versions": versions(),
        "model": inputs.label,
        "protocol": inputs.protocol,
    }
    found: dict[str, list[dict[str, Any]]] = {}
    with Progress("equality", sum(len(dataset.rows) for dataset in inputs.datasets), "row") as progress:
        for dataset in inputs.datasets:
            path = folder / f"{'-'.join([*inputs.label.split(), dataset.name])}.json"
            workers = {name: Worker(script, threads, counting=False) for name, script in SIDES.items()}
            try:
                for said in _answers(inputs, dataset, workers, apart, threads):
                    found.setdefault(dataset.name, []).extend(said)
                    content = {"about": about, "equality": found[dataset.name]}
                    write_text(path, json.dumps(content, indent=1) + "\n")
                    progress.advance()
            finally:
                for worker in workers.values():
                    worker.close()
    return [one for each in found.values() for one in each]


def _answers(
    inputs: Inputs, dataset: Dataset, workers: Mapping[str, Worker], apart: int, threads: int
) -> Iterator[list[dict[str, Any]]]:
    message = loading(inputs, dataset, threads, counting=False, sharing=True)
    told = workers["engine"].ask(do="load", **message)
    workers["plain"].ask(do="load", **message | {"device": told["device"]})
    everything = [case.case_id for case in dataset.cases]
    some = [case.case_id for case in spread(dataset.cases, apart)]
    ways = {"together": ("engine", everything, True), "plain": ("plain", everything, False)}
    ways |= {"alone": ("engine", some, False)} if some else {}
    unedited = None
    for row in dataset.rows:
        answers = {
            way: workers[side].ask(do="run", row=row, cases=cases, together=together)
            for way, (side, cases, together) in ways.items()
        }
        unedited = answers["plain"]["outputs"] if row == "none" else unedited
        yield compared(dataset, row, answers, unedited)


@click.command(help=__doc__)
@chosen
@click.option("--cases", type=int, help="Cases of each fold; all by default, 200 of a random model.")
@click.option("--apart", default=0, show_default=True, help="Of these: run alone as well as in batches.")
@click.option("--threads", default=os.cpu_count(), show_default=True, help="Of each side.")
@click.option("--needed", "only_needed", is_flag=True, help="List the files that are taken from results/.")
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "docs/equality",
    show_default="docs/equality",
)
def main(
    choice: Choice, cases: int | None, apart: int, threads: int, only_needed: bool, output: Path
) -> None:
    """Compare, write the results, and print where outputs differ."""
    if only_needed:
        click.echo(" ".join(choice.needed(all_folds=True)))
        return
    with tempfile.TemporaryDirectory() as folder:
        inputs = replace(choice.inputs(Path(folder), cases, all_folds=True), fluency=False)
        found = check(inputs, apart, threads, output)
    click.echo(table(found))
    click.echo(output)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each row and way, and below it the prompts whose outputs differ."""
    lines = []
    for one in found:
        head = f"{one['dataset']} fold {one['fold']} {one['row']} {one['way']}"
        lines.append(f"{head}: {one['cases_differing']} of {one['cases']} cases differ")
        lines += [f"  {each['case']}, {difference(each)}" for each in one["differing"]]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"Error: {error}") from None
