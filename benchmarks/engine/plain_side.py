"""The plain reference as a side of the benchmark: see `protocol.py`, and `tests/reference_rows.py`."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import torch
from gauge import Gauge
from protocol import serve
from transformers import AutoModelForCausalLM, logging

from clme.editors import registry
from clme.models.text import Tokenizer
from clme.study.cases import Case, EncodedCase, encode
from clme.study.jobs import request_of

sys.path.append(str(Path(__file__).parents[2] / "tests"))
import reference_rows


class PlainSide:
    """Edits and evaluates one request, and continues one prompt, at a time; always in float32."""

    def load(self, **message: Any) -> dict[str, Any]:
        """Load a model and the cases of a dataset."""
        torch.set_num_threads(message["threads"])
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        folder = Path(message["model"])
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self._model.to(message["device"]).eval().requires_grad_(False)
        if self._model.device != torch.get_default_device():
            torch.set_default_device(self._model.device)  # the references make their tensors without one
        self._message = message
        tokenizer = Tokenizer.load(folder)
        self._ends = tokenizer.ends
        longest = self._model.config.max_position_embeddings
        cases = [Case(fold=0, **{**one, "neighbours": tuple(one["neighbours"])}) for one in message["cases"]]
        self._cases = {case.case.case_id: case for case in encode(cases, tokenizer, longest, folder)}
        self._values: dict[Any, Any] | None = {} if message["sharing"] else None
        self._rows = {name: self._row(**about) for name, about in message["rows"].items()}
        self._greedy(next(iter(self._cases.values())))  # to warm up
        return {}

    def _row(self, editor: str, hyperparameters: dict[str, Any], files: dict[str, str]) -> Any:
        message = self._message
        configured = registry.configured(
            editor,
            protocol=message["protocol"],
            task=message["task"],
            overrides=hyperparameters,
            seed=message["seed"],
        )
        paths = {kind: Path(path) for kind, path in files.items()}
        return reference_rows.PlainRow(editor, configured.config, message["seed"], paths, self._values)

    def run(self, row: str, cases: list[str], together: bool) -> dict[str, Any]:
        """Edit and evaluate; `together` makes no difference."""
        layers, device = self._model.base_model.layers, self._model.device
        gauge = Gauge(layers, device, counting=self._message["counting"])
        said = {}
        for name in cases:
            case = self._cases[name]
            with contextlib.ExitStack() as stack:
                edited = self._rows[row].edited(self._model, request_of(case))
                gauge.run("edit", lambda stack=stack, edited=edited: stack.enter_context(edited))
                said[name] = gauge.run("evaluation", lambda case=case: self._greedy(case))
                if self._message["fluency"]:
                    gauge.run("fluency", lambda case=case: self._sample(case))
        return {
            "parts": gauge.parts,
            "outputs": {name: [one.ids for one in texts] for name, texts in said.items()},
            "margins": {name: [one.margins for one in texts] for name, texts in said.items()},
            "runners_up": {name: [one.runners_up for one in texts] for name, texts in said.items()},
            "failed": {},
        }

    def _greedy(self, case: EncodedCase) -> list[Any]:
        lengths = [len(case.request.target)] * 2 + [self._message["specificity_tokens"]] * len(
            case.neighbours
        )
        pairs = zip(case.prompts, lengths, strict=True)
        return [reference_rows.greedy(self._model, ids, length, self._ends) for ids, length in pairs]

    def _sample(self, case: EncodedCase) -> None:
        fluency = self._message["fluency"]
        for ids in case.prompts[:2]:
            reference_rows.sampled(
                self._model,
                ids,
                fluency["tokens"],
                self._ends,
                beams=fluency["beams"],
                top_k=fluency["top_k"],
            )


if __name__ == "__main__":
    serve(PlainSide())
