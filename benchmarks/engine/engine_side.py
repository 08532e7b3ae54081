"""This package's engine as a side of the benchmark: see `protocol.py`."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gauge import Gauge, matmul_peak
from protocol import serve
from torch import Tensor

from clme.editors import registry
from clme.editors.base import Editor, Failure, Request
from clme.editors.codebooks import CodebookEditor, optimise
from clme.edits import Edit
from clme.evaluation.decoding import Continuation
from clme.evaluation.protocol import PROTOCOLS
from clme.models.decoder import Decoder
from clme.models.text import Tokenizer
from clme.padding import Result, in_groups
from clme.representations import Pooled, Representations
from clme.study.batches import plan
from clme.study.cases import Case, EncodedCase, encode
from clme.study.costs import Texts
from clme.study.evaluate import Evaluator, Foreseen, Outputs
from clme.study.jobs import request_of
from clme.study.measure import MEGABYTE
from clme.study.settings import Compute
from clme.tensors import write_tensors

Fired = dict[str, tuple[Continuation, Continuation]]


@dataclass(frozen=True)
class Shared:
    """What rows with a codebook share: values, and what is said with them in place.

    Attributes:
        owner: the row that it is made, and measured, with.
        path: the file of values.
        fired: by whether texts were sampled, then by case.
    """

    owner: str
    path: Path
    fired: dict[bool, Fired]


class EngineSide:
    """Edits and evaluates as the study's jobs do, on what they share."""

    def load(self, **message: Any) -> dict[str, Any]:
        """Load a model and the cases of a dataset, and run the unedited model on them."""
        torch.set_num_threads(message["threads"])
        self._message = message
        self._compute = Compute.model_validate(message["compute"])
        folder = Path(message["model"])
        self._decoder = Decoder.load(folder, device=message["device"], dtype=message["dtype"])
        tokenizer = Tokenizer.load(folder)
        cases = [Case(fold=0, **{**one, "neighbours": tuple(one["neighbours"])}) for one in message["cases"]]
        encoded = encode(cases, tokenizer, self._decoder.max_tokens, folder)
        self._cases = {case.case.case_id: case for case in encoded}
        # By part, whether texts are sampled; only seconds are told apart.
        self._parts = {"both": True} if message["fluency"] else {"evaluation": False}
        if not message["counting"]:
            self._parts = {"evaluation": False} | self._parts
        self._evaluators = {
            fluency: Evaluator(
                self._decoder,
                tokenizer,
                PROTOCOLS[message["protocol"]],
                seed=message["seed"],
                read_tokens=self._compute.read_tokens,
                padding=self._compute.padding,
                fluency=fluency,
            )
            for fluency in self._parts.values()
        }
        self._files = {
            name: {kind: Path(path) for kind, path in about["files"].items()}
            for name, about in message["rows"].items()
        }
        self._shared: dict[str, Shared] = {}
        self._folder = tempfile.TemporaryDirectory()
        self._unedited: dict[str, Outputs] = {}
        gauge = Gauge(self._decoder.layers, self._decoder.device, counting=False)
        self._run_unedited(gauge, encoded)
        about = {"device": str(self._decoder.device), "device_name": self._decoder.device_name}
        about |= {"model_mb": self._decoder.model.get_memory_footprint() / MEGABYTE}
        return (
            about | {"texts": vars(Texts.of_cases(encoded))} | (self._peaks() if message["counting"] else {})
        )

    def _peaks(self) -> dict[str, Any]:
        kinds = ("float32", "bfloat16", "float16")
        return {
            "matmul_peak": {name: matmul_peak(self._decoder.device, getattr(torch, name)) for name in kinds}
        }

    def _editor(self, row: str, *, shortcuts: bool) -> Editor:
        about, message = self._message["rows"][row], self._message
        editor = registry.configured(
            about["editor"],
            protocol=message["protocol"],
            task=message["task"],
            overrides=about["hyperparameters"],
            seed=message["seed"],
        )
        files = dict(self._files[row])
        if not shortcuts:
            short = {need.kind for need in editor.needs() if need.shortcut}
            files = {kind: path for kind, path in files.items() if kind not in short}
        editor.check(self._decoder)
        editor.load(self._decoder, files)
        return editor

    def run(self, row: str, cases: list[str], together: bool) -> dict[str, Any]:
        """Edit and evaluate; alone, a case is edited without shortcuts, as the study measures it."""
        gauge = Gauge(self._decoder.layers, self._decoder.device, counting=self._message["counting"])
        chosen = [self._cases[name] for name in cases]
        groups = [chosen] if together else [[case] for case in chosen]
        outputs: dict[str, Outputs] = {}
        failed: dict[str, str] = {}
        editor = self._editor(row, shortcuts=together)
        if together and isinstance(editor, CodebookEditor):
            self._share(gauge, row, editor, chosen)
            editor.load(self._decoder, {**self._files[row], "values": self._of(editor).path})
        for group in groups:
            if self._message["rows"][row]["editor"] == "none":
                outputs |= self._run_unedited(gauge, group)
                continue
            for batch in plan(group, self._compute.batch_cases, self._compute.edit_tokens):
                found, reasons = self._run_edited(gauge, row, editor, batch, together=together)
                outputs |= found
                failed |= reasons
        return {
            "parts": gauge.parts,
            "outputs": {name: one.greedy for name, one in outputs.items()},
            "failed": failed,
        }

    def _run_unedited(self, gauge: Gauge, cases: Sequence[EncodedCase]) -> dict[str, Outputs]:
        for batch in plan(cases, self._compute.batch_cases, self._compute.read_tokens):
            edits = [Edit()] * len(batch)
            for part, fluency in self._parts.items():
                found = gauge.run(
                    part,
                    lambda fluency=fluency, batch=batch, edits=edits: self._evaluators[fluency].run(
                        batch, edits, None
                    ),
                )
            self._unedited |= {case.case.case_id: one for case, one in zip(batch, found, strict=True)}
        return {case.case.case_id: self._unedited[case.case.case_id] for case in cases}

    def _run_edited(
        self, gauge: Gauge, row: str, editor: Editor, batch: list[EncodedCase], *, together: bool
    ) -> tuple[dict[str, Outputs], dict[str, str]]:
        made = gauge.run("edit", lambda: self._edited(editor, batch))
        edits = [one if isinstance(one, Edit) else Edit() for one in made]
        before = [self._unedited[case.case.case_id] for case in batch]
        for part, fluency in self._parts.items():
            known = self._foreseen(row, editor, batch, fluency=fluency) if together else None
            found = gauge.run(
                part,
                lambda fluency=fluency, known=known: self._evaluators[fluency].run(
                    batch, edits, before, known
                ),
            )
        names = [case.case.case_id for case in batch]
        failed = {name: one.reason for name, one in zip(names, made, strict=True) if isinstance(one, Failure)}
        return dict(zip(names, found, strict=True)), failed

    def _edited(self, editor: Editor, batch: Sequence[EncodedCase]) -> list[Edit | Failure]:
        return self._in_groups(batch, lambda requests: editor.edit(self._decoder, requests))

    def _in_groups(
        self, batch: Sequence[EncodedCase], call: Callable[[list[Request]], Sequence[Result]]
    ) -> list[Result]:
        """Hand requests over together as the study's jobs do."""
        targets = [len(case.request.target) for case in batch]
        return in_groups(list(map(request_of, batch)), targets, self._compute.padding, call)

    def _share(self, gauge: Gauge, row: str, editor: CodebookEditor, cases: Sequence[EncodedCase]) -> None:
        """Optimise the values, and run the prompts under them, if this is the first row that needs them."""
        digest = _digest(editor)
        if digest in self._shared and self._shared[digest].owner != row:
            return
        site = self._decoder.site(editor.config.layer, editor.config.module)

        def optimised(requests: list[Request]) -> list[tuple[Tensor, Tensor]]:
            made = optimise(self._decoder, site, editor.config, editor.seed, requests)
            return list(zip(made.values, made.losses, strict=True))

        made, names = [], []
        fired: dict[bool, Fired] = {False: {}, True: {}}
        for batch in plan(cases, self._compute.batch_cases, self._compute.edit_tokens):
            made += gauge.run("edit", lambda batch=batch: self._in_groups(batch, optimised))
            names += [case.case.case_id for case in batch]
        path = Path(self._folder.name) / f"{digest}.safetensors"
        values, losses = zip(*made, strict=True)
        tensors = {"values": torch.stack(values), "losses": torch.stack(losses)}
        write_tensors(path, tensors, {"case_ids": names})
        self._shared[digest] = Shared(row, path, fired)
        if not _foresees(editor):
            return
        editor.load(self._decoder, {**self._files[row], "values": path})
        for batch in plan(cases, self._compute.batch_cases, self._compute.read_tokens):
            edits = _firing(editor.edit(self._decoder, [request_of(case) for case in batch]))
            for part, fluency in self._parts.items():
                found = gauge.run(
                    part,
                    lambda fluency=fluency, batch=batch, edits=edits: self._evaluators[fluency].fired(
                        batch, edits
                    ),
                )
                fired[fluency] |= {case.case.case_id: one for case, one in zip(batch, found, strict=True)}

    def _of(self, editor: CodebookEditor) -> Shared:
        return self._shared[_digest(editor)]

    def _foreseen(
        self, row: str, editor: Editor, batch: Sequence[EncodedCase], *, fluency: bool
    ) -> list[Foreseen] | None:
        if not (isinstance(editor, CodebookEditor) and _foresees(editor)):
            return None
        path = self._files[row].get("representations")
        stored = None if path is None else Representations(path)
        found = []
        for case in batch:
            name = case.case.case_id
            prompts = None if stored is None else Pooled(stored.of(name, "last"), stored.of(name, "mean"))
            found.append(Foreseen(self._of(editor).fired[fluency][name], prompts))
        return found


def _digest(editor: CodebookEditor) -> str:
    return next(need.digest for need in editor.needs() if need.kind == "values")


def _foresees(editor: CodebookEditor) -> bool:
    return any(need.kind == "fired" for need in editor.needs())


def _firing(made: Sequence[Edit | Failure]) -> list[Edit]:
    """Return the edits with a radius that reaches everything; the empty edit for one that failed."""
    edits = []
    for one in made:
        deltas = one.deltas if isinstance(one, Edit) else ()
        wide = [replace(delta, radii=torch.full_like(delta.radii, torch.inf)) for delta in deltas]
        edits.append(Edit(tuple(wide)))
    return edits


if __name__ == "__main__":
    serve(EngineSide())
