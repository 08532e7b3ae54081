"""A model's contexts: short texts of its own making before which a prompt may stand."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clme.editors.contexts import STARTS, TOKENS, TOP_K, Contexts
from clme.evaluation.sampling import Sampler
from clme.models.context import Context
from clme.models.decoder import Decoder, padded
from clme.models.text import Tokenizer
from clme.study.prepare import Preparation


def prepare(job: Preparation) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Sample the contexts; the texts are kept as metadata.

    As in the sources, each text's characters are put into compatibility form (NFKD), empty lines become
    spaces, and a full stop is added.
    """
    sampled = sample(job.decoder, job.tokenizer, job.need("seed"))
    texts = [_cleaned(job.tokenizer.decode(ids)) for ids in sampled]
    contexts = Contexts(((), *(job.tokenizer.encode(text) for text in texts)))
    return contexts.tensors(), {"texts": ["", *texts]}


def _cleaned(text: str) -> str:
    return unicodedata.normalize("NFKD", text).replace("\n\n", " ") + "."


@torch.no_grad()
def sample(decoder: Decoder, tokenizer: Tokenizer, seed: int) -> list[tuple[int, ...]]:
    """Return for each start a text of `TOKENS` tokens, start included."""
    starts = [tokenizer.encode(start) for start in STARTS]
    ids, mask = padded(starts, decoder.device)
    hidden, context = decoder.read(ids, mask)
    logits = decoder.logits(hidden[torch.arange(len(starts)), mask.sum(dim=1) - 1])
    # The sources don't stop at an end token; it is left out of the text.
    sampler = Sampler(TOKENS - 1, min(TOP_K, decoder.vocabulary), 1, frozenset())
    noise = torch.stack([sampler.noise(seed, "contexts", start) for start in STARTS]).to(decoder.device)

    def step(tokens: Tensor, _: Tensor, context: Context) -> tuple[Tensor, Context]:
        hidden, context = decoder.read(tokens, torch.ones_like(tokens, dtype=torch.bool), context)
        return decoder.logits(hidden), context

    sampled = sampler.sample(context, logits, noise, step)
    return [(*start, *rest)[:TOKENS] for start, rest in zip(starts, sampled, strict=True)]
