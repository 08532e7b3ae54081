"""New names of variables by a masked language model, as ALERT proposes them (Yang et al., 2022, Section 3.2).

The model reads the function as it is; what it finds likely at a variable's places are the candidates. ALERT
then lets a victim model choose among them; without a victim, the likeliest that fits is taken.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast

from clme.datasets.encoder import accelerator, context_length
from clme.errors import UserError, first_line

COMBINATIONS = 64
"""Candidates of a variable at most; one of several pieces has fewer choices for each."""


class MaskedModel:
    """Proposes names for a function's variables.

    Args:
        folder: a model folder (`config.json`, safetensors, tokenizer) of a masked language model.

    Raises:
        UserError: no such model can be loaded from the folder.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder}: no masked model can be loaded from here ({first_line(error)})"
            ) from error
        if not isinstance(self._tokenizer, PreTrainedTokenizerFast):
            raise UserError(f"{folder}: its tokenizer gives no character offsets")
        self._device = accelerator()
        self._model = model.eval().to(self._device)
        self._max_tokens = context_length(model.config)

    @torch.inference_mode()
    def candidates(self, code: str, names: Sequence[str]) -> Mapping[str, list[str]]:
        """Return names like each of the given ones, the likeliest first.

        Args:
            code: a function's source; what is beyond the model's context is not read.
            names: variables of the function.
        """
        encoded = self._tokenizer(
            code,
            truncation=True,
            max_length=self._max_tokens,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        offsets = encoded.pop("offset_mapping")[0].tolist()
        likely = self._model(**encoded.to(self._device)).logits[0].log_softmax(dim=-1).cpu()
        return {name: self._names(code, name, offsets, likely) for name in names}

    def _names(
        self, code: str, name: str, offsets: Sequence[Sequence[int]], likely: torch.Tensor
    ) -> list[str]:
        """Combine what is likely at each piece of a name, over the places where it has as many pieces."""
        places = [
            [
                number
                for number, (start, end) in enumerate(offsets)
                if start < found.end() and end > found.start() and end > start
            ]
            for found in re.finditer(rf"\b{re.escape(name)}\b", code)
        ]
        pieces = len(places[0]) if places else 0
        choices = int(COMBINATIONS ** (1 / pieces) + 1e-9) if pieces else 0
        if choices < 2:
            return []
        alike = torch.tensor([place for place in places if len(place) == pieces])
        best = likely[alike].mean(dim=0).topk(choices, dim=-1)
        combined = sorted(
            itertools.product(range(choices), repeat=pieces),
            key=lambda chosen: -sum(float(best.values[piece, rank]) for piece, rank in enumerate(chosen)),
        )
        texts = [
            str(self._tokenizer.decode([int(best.indices[piece, rank]) for piece, rank in enumerate(chosen)]))
            for chosen in combined
        ]
        return [text.strip() for text in texts if text.strip().isidentifier()]
