"""The edit job: one editor on one fold of a dataset; edits, evaluates, measures, and loses nothing."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from clme.editors import registry
from clme.editors.base import Editor, Failure
from clme.edits import Edit
from clme.errors import UserError
from clme.files import write_parquet
from clme.padding import in_groups
from clme.progress import Progress
from clme.representations import Pooled, Representations
from clme.stopping import Turns
from clme.study import baseline, prepare
from clme.study.batches import BatchRun, plan, shard
from clme.study.cases import EncodedCase, read_cases, select
from clme.study.evaluate import Evaluator, Foreseen, Outputs
from clme.study.fired import FiredOutputs
from clme.study.jobs import Loaded, file_metadata, identity, load, request_of
from clme.study.journal import Journal
from clme.study.measure import Cost, Meter
from clme.study.schema import EDITS
from clme.study.settings import EditSettings
from clme.tensors import read_tensor_metadata


def make_editor(settings: EditSettings) -> Editor:
    """Return the configured editor.

    Raises:
        UserError: it isn't registered, or a hyperparameter is wrong.
    """
    return registry.configured(
        settings.editor,
        protocol=settings.protocol,
        task=settings.task,
        overrides=settings.hyperparameters,
        seed=settings.seed,
    )


def run(
    model: Path,
    cases: Path,
    baseline_path: Path,
    needs: Mapping[str, Path],
    settings: EditSettings,
    journals: Path,
    output: Path,
) -> None:
    """Edit and evaluate the selected cases of the fold, or of its shard; write one row for each as Parquet.

    Args:
        model: the model's folder.
        cases: the dataset's cases.
        baseline_path: the unedited model's outputs.
        needs: files that the editor needs, by kind.
        settings: the job's settings.
        journals: folder for finished batches.
        output: where the rows go.

    Raises:
        UserError: an input can't be used, or the output can't be written. Finished batches are kept.
    """
    editor = make_editor(settings)
    files = prepare.given(
        editor.needs(), needs, model=model, cases=cases, fold=settings.fold, editor=settings.editor
    )
    inputs = {"cases": cases, "baseline": baseline_path, **files}
    about = identity(settings, model, inputs, [__name__, registry.module(settings.editor)])
    kept = ("model_manifest_sha256", "cases_sha256")
    made = {name: str(about[name]) for name in kept} | {
        "protocol": settings.protocol,
        "seed": str(settings.seed),
    }
    unedited = baseline.read(baseline_path, made)
    loaded = _divided(load(model, cases, settings, settings.fold), settings)
    missing = [case.case.case_id for case in loaded.cases if case.case.case_id not in unedited]
    if missing:
        raise UserError(f"{baseline_path}: lacks {len(missing)} cases, such as {missing[0]}; rerun its rule")
    editor.check(loaded.decoder)
    editor.load(loaded.decoder, files)
    job = _Job(editor, settings, loaded, unedited, _foreseen(files, settings, loaded.cases))
    with Journal(journals, about) as journal:
        job.measure(journal, _timed(cases, settings), files)
        device = loaded.decoder.device
        batches = BatchRun(job.label, journal, settings.compute, "edit_tokens", device, job.batch)
        results = batches.run(loaded.cases)
        rows = [job.row(case, results[case.case.case_id], journal) for case in loaded.cases]
        frame = pd.DataFrame(rows, columns=EDITS.names)
        metadata = {**file_metadata(about, loaded.decoder), "notes": json.dumps(_notes(files))}
        journal.check()
        write_parquet(output, frame, schema=EDITS, metadata=metadata)
    failed = int((frame["status"] == "failed").sum())
    print(f"{job.label}: {len(rows)} cases, {failed} failed -> {output}", file=sys.stderr, flush=True)


def _divided(loaded: Loaded, settings: EditSettings) -> Loaded:
    """Leave the shard's cases: those of its batches, which are planned for the whole fold."""
    if settings.shard is None:
        return loaded
    compute = settings.compute
    batches = plan(loaded.cases, compute.batch_cases, compute.edit_tokens)
    own = shard(batches, settings.shard.number, settings.shard.of)
    names = {case.case.case_id for batch in own for case in batch}
    return replace(loaded, cases=[case for case in loaded.cases if case.case.case_id in names])


def _notes(files: Mapping[str, Path]) -> list[str]:
    """Return what needed files say that every table drawn from the results must say too."""
    said = (read_tensor_metadata(path).get("note") for path in files.values())
    return sorted({note for note in said if note})


def _timed(cases: Path, settings: EditSettings) -> set[str]:
    """Return the ids of the cases, of all folds, that are edited one at a time."""
    chosen = select(read_cases(cases), settings.evaluation)
    return {case.case_id for case in chosen[: settings.evaluation.timed_cases]}


def _foreseen(
    files: Mapping[str, Path], settings: EditSettings, cases: Sequence[EncodedCase]
) -> dict[str, Foreseen]:
    """Return by case what needed files tell of its outputs; nothing for editors that need no such files."""
    if not files.keys() >= {"values", "fired"}:
        return {}
    fired = FiredOutputs(files["fired"], files["values"], settings)
    stored = Representations(files["representations"]) if "representations" in files else None
    found = {}
    for case in cases:
        name = case.case.case_id
        prompts = None if stored is None else Pooled(stored.of(name, "last"), stored.of(name, "mean"))
        found[name] = Foreseen(fired.of(name), prompts)
    return found


class _Job:
    """The work of one edit job.

    Args:
        editor: the configured editor.
        settings: the job's settings.
        loaded: the model and the fold's cases.
        unedited: the baseline's outputs by case.
        foreseen: what is known of outputs under the edits, by case; empty where nothing is.
    """

    def __init__(
        self,
        editor: Editor,
        settings: EditSettings,
        loaded: Loaded,
        unedited: dict[str, Outputs],
        foreseen: dict[str, Foreseen],
    ) -> None:
        self._editor, self._settings, self._loaded = editor, settings, loaded
        self._unedited, self._foreseen = unedited, foreseen
        self._evaluator: Evaluator = loaded.evaluator(settings)
        part = f" {settings.shard}" if settings.shard else ""
        row = settings.row or settings.editor
        self.label = f"{row} {settings.model}/{settings.dataset} fold {settings.fold}{part}"

    def measure(self, journal: Journal, timed: set[str], files: Mapping[str, Path]) -> None:
        """Edit the timed cases one at a time and without shortcuts; before them one token, to warm up."""
        cases = [case for case in self._loaded.cases if case.case.case_id in timed]
        waiting = [case for case in cases if _cost_key(case) not in journal.records]
        if not waiting:
            return
        needed = [need.kind for need in self._editor.needs() if need.kind in files and not need.shortcut]
        editor = make_editor(self._settings)
        editor.load(self._loaded.decoder, {kind: files[kind] for kind in needed})
        meter = Meter(self._loaded.decoder.device)
        first = request_of(waiting[0])
        made = editor.edit(self._loaded.decoder, [replace(first, target=first.target[:1])])
        if all(map(_changes_nothing, made)):
            return
        turns = Turns()
        with Progress(f"{self.label}, timing", len(cases), "edit", len(cases) - len(waiting)) as progress:
            for case in waiting:
                turns.next(progress.standing)
                cost = meter.measure(partial(self._edit, [case], editor))
                journal.write(_cost_key(case), asdict(cost))
                progress.advance()

    def _edited(self, batch: Sequence[EncodedCase]) -> list[Edit | Failure]:
        targets = [len(case.request.target) for case in batch]
        padding = self._settings.compute.padding
        return in_groups(batch, targets, padding, lambda group: self._edit(group, self._editor))

    def _edit(self, cases: Sequence[EncodedCase], editor: Editor) -> list[Edit | Failure]:
        return editor.edit(self._loaded.decoder, [request_of(case) for case in cases])

    def batch(self, batch: list[EncodedCase]) -> dict[str, Any]:
        """Edit and evaluate a batch; return the result columns by case."""
        found = self._edited(batch)
        edits = [edit if isinstance(edit, Edit) else Edit() for edit in found]
        unedited = [self._unedited[case.case.case_id] for case in batch]
        foreseen = [self._foreseen[case.case.case_id] for case in batch] if self._foreseen else None
        outputs = self._evaluator.run(batch, edits, unedited, foreseen)
        rows = {}
        for case, edit, outcome, before, after in zip(batch, edits, found, unedited, outputs, strict=True):
            error = outcome.reason if isinstance(outcome, Failure) else ""
            if error:
                print(f"{self.label}: case {case.case.case_id} failed: {error}", file=sys.stderr, flush=True)
            rows[case.case.case_id] = {
                "status": "failed" if error else "ok",
                "error": error,
                "edit_steps": edit.steps,
                "edit_loss": edit.loss,
                **self._evaluator.score(case, after, before),
            }
        return rows

    def row(self, case: EncodedCase, results: dict[str, Any], journal: Journal) -> dict[str, Any]:
        """Return a case's row of the result file."""
        settings = self._settings
        cost = Cost(**journal.records[key]) if (key := _cost_key(case)) in journal.records else None
        return {
            "model": settings.model,
            "dataset": settings.dataset,
            "editor": settings.row or settings.editor,
            "fold": settings.fold,
            "case_id": case.case.case_id,
            "prompt": case.case.prompt,
            "rephrase": case.case.rephrase,
            "target": case.case.target,
            "edit_seconds": cost.seconds if cost else None,
            "peak_memory_mb": cost.peak_memory_mb if cost else None,
            **results,
        }


def _cost_key(case: EncodedCase) -> str:
    return f"cost {case.case.case_id}"


def _changes_nothing(found: Edit | Failure) -> bool:
    return isinstance(found, Edit) and not found.deltas
