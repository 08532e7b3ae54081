"""Sentence embeddings by a small encoder model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, PretrainedConfig
from transformers.utils import logging

from clme.errors import UserError
from clme.progress import Progress

BATCH_TOKENS = 8192
BATCH_TEXTS = 4096


def accelerator() -> torch.device:
    """Return the accelerator, or the processor where there is none."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.empty(0).device


def context_length(config: PretrainedConfig) -> int:
    """Return how many tokens an encoder reads; RoBERTa's positions start after the padding token's number."""
    reserved = config.pad_token_id + 1 if config.model_type == "roberta" else 0
    return int(config.max_position_embeddings) - reserved


class Encoder:
    """Embeds texts by an encoder's last hidden states.

    Args:
        folder: a model folder (`config.json`, safetensors, tokenizer).
        pooling: ``mean`` of all tokens' states, or ``cls``, the first token's, as the encoder was trained.

    Raises:
        UserError: no encoder can be loaded from the folder.
    """

    def __init__(self, folder: Path, pooling: str = "mean") -> None:
        logging.disable_progress_bar()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            ).eval()
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder}: no encoder can be loaded from here ({str(error).splitlines()[0]})"
            ) from error
        self._pooling = pooling
        self._device = accelerator()
        self._model.to(self._device)
        self._max_tokens = context_length(self._model.config)
        self._tokenizer.model_max_length = 10**9  # lengths are handled here

    @property
    def special(self) -> int:
        """How many special tokens each text gets."""
        return int(self._tokenizer.num_special_tokens_to_add())

    def counts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the texts' numbers of tokens [texts], special ones included."""
        found = np.zeros(len(texts), dtype=np.int64)
        for start in range(0, len(texts), BATCH_TEXTS):
            batch = list(texts[start : start + BATCH_TEXTS])
            found[start : start + len(batch)] = [len(ids) for ids in self._tokenizer(batch).input_ids]
        return found

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], label: str) -> np.ndarray:
        """Return unit vectors [texts, d] in float32; longer texts are cut at the encoder's context.

        Args:
            texts: in any order; they are embedded by length, which saves padding.
            label: what the progress is called.
        """
        ids: list[np.ndarray] = []  # lists of numbers would take nine times as much: 4 GB for CodeSearchNet
        for start in range(0, len(texts), BATCH_TEXTS):
            batch_texts = list(texts[start : start + BATCH_TEXTS])
            cut = self._tokenizer(batch_texts, truncation=True, max_length=self._max_tokens).input_ids
            ids += [np.array(one, dtype=np.int32) for one in cut]
        found = np.zeros((len(texts), self._model.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda number: (len(ids[number]), number))
        with Progress(label, len(texts), "text") as progress:
            while order:
                longest = len(ids[order[-1]])
                batch = [order.pop() for _ in range(min(len(order), max(1, BATCH_TOKENS // longest)))]
                cut = [ids[number].tolist() for number in batch]
                encoded = self._tokenizer.pad({"input_ids": cut}, return_tensors="pt")
                encoded = encoded.to(self._device)
                hidden = self._model(**encoded).last_hidden_state
                pooled = self._pooled(hidden, encoded["attention_mask"])
                found[batch] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
                progress.advance(len(batch))
        return found

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return one vector per text [texts, d] of the states [texts, tokens, d]."""
        if self._pooling == "cls":
            return hidden[:, 0]
        weights = mask[:, :, None].to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
