"""Top-k sampling with or without beams, with random numbers that belong to the text."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from clme.models.context import Context
from clme.randomness import generator

Step = Callable[[Tensor, Tensor, Context], tuple[Tensor, Context]]
"""Reads one token of each beam: from tokens [texts, beams], their lineage [texts, beams, slots] among the
slots after the prompt, and the context, to the next logits [texts, beams, vocabulary]. All beams of a text
share its context, so that nothing of it is copied."""


_BLOCK = 256
_INTERVAL = 8
"""After so many steps the tokens that no beam continues any more are forgotten."""


@dataclass
class _Beams:
    """The beams of the texts in work: scores [texts, beams] and token ids [texts, beams, tokens]."""

    scores: Tensor
    tokens: Tensor


class Sampler:
    """Samples continuations from the `top_k` likeliest tokens of each step.

    With one beam this is top-k sampling. With more it is beam search whose candidates are drawn
    without replacement, in proportion to their joint probability, among the `top_k` continuations of
    each beam (the "beam sample" of `transformers`); the text with the best mean log-probability wins.

    Args:
        tokens: length of the texts; shorter only where an end token was drawn.
        top_k: how many tokens a beam may go on with.
        beams: number of beams.
        ends: ids of the tokens that end a text.
    """

    def __init__(self, tokens: int, top_k: int, beams: int, ends: frozenset[int]) -> None:
        self.tokens, self.top_k, self.beams = tokens, top_k, beams
        self._ends = torch.tensor(sorted(ends), dtype=torch.long)

    @property
    def held(self) -> int:
        """How many tokens after its prompt a text holds at once, as a rule.

        With 5 beams of 64 tokens it was 120 to 190 of 320; the others were of beams that had died out.
        """
        return math.ceil(self.tokens * max(1.0, 2 / 3 * self.beams))

    def noise(self, seed: int, *names: str) -> Tensor:
        """Draw the Gumbel noise [tokens, beams * top_k] of the text that `names` names."""
        drawn = generator(seed, "fluency", *names).gumbel(size=(self.tokens, self.beams * self.top_k))
        return torch.from_numpy(drawn.astype(np.float32))

    def sample(self, context: Context, logits: Tensor, noise: Tensor, step: Step) -> list[tuple[int, ...]]:
        """Sample one continuation of each text.

        Args:
            context: of the texts' prompts.
            logits: [texts, vocabulary] after the prompts.
            noise: [texts, tokens, beams * top_k] from `noise`.
            step: runs the model.

        Returns:
            Each text's token ids, without an end token.
        """
        texts, device = len(logits), logits.device
        best: list[tuple[float, tuple[int, ...]]] = [(-np.inf, ())] * texts
        first = torch.full((texts, self.beams), -torch.inf, device=device)
        first[:, 0] = 0.0
        beams = _Beams(first, torch.empty(texts, self.beams, 0, dtype=torch.long, device=device))
        lineage = torch.empty(texts, self.beams, 0, dtype=torch.bool, device=device)
        itself = torch.eye(self.beams, dtype=torch.bool, device=device).expand(texts, -1, -1)
        logits = logits[:, None].expand(-1, self.beams, -1)
        for position in range(self.tokens):
            beams, parents = self._advance(beams, logits, noise[:, position], best)
            if position == self.tokens - 1 or bool((beams.scores == -torch.inf).all()):
                break
            lineage = lineage.gather(1, parents[:, :, None].expand(-1, -1, lineage.shape[2]))
            if self.beams > 1 and position and position % _INTERVAL == 0:
                lineage, context = _without_dead_ends(lineage, context)
            lineage = torch.cat([lineage, itself], dim=2)
            logits, context = step(beams.tokens[:, :, -1], lineage, context)
        for text in range(texts):
            for score, tokens in zip(beams.scores[text].tolist(), beams.tokens[text].tolist(), strict=True):
                _offer(best, text, score, tokens)
        return [tokens for _, tokens in best]

    def _advance(
        self, beams: _Beams, logits: Tensor, noise: Tensor, best: list[tuple[float, tuple[int, ...]]]
    ) -> tuple[_Beams, Tensor]:
        """Draw the next token of each beam; finished texts go to `best`.

        Returns:
            The beams, one token longer, and the beam [texts, beams] that each one continues.
        """
        likely, ids = largest(logits.float().log_softmax(dim=2), self.top_k)
        scores = (beams.scores[:, :, None] + likely).flatten(1)
        # The largest of (log-probability + Gumbel noise) are a draw without replacement.
        wanted = 1 if self.beams == 1 else min(2 * self.beams, scores.shape[1])
        drawn = (scores + noise).topk(wanted, dim=1).indices
        order = scores.gather(1, drawn).sort(dim=1, descending=True, stable=True).indices
        drawn = drawn.gather(1, order)
        parents, tokens, scores = (
            drawn // self.top_k,
            ids.flatten(1).gather(1, drawn),
            scores.gather(1, drawn),
        )
        ended = torch.isin(tokens, self._ends.to(tokens.device)) & scores.isfinite()
        for text, place in ended.nonzero().tolist():
            if place < self.beams:
                _offer(
                    best,
                    text,
                    float(scores[text, place]),
                    beams.tokens[text, parents[text, place]].tolist(),
                    1,
                )
        # The beams go on with the best draws that have not ended.
        going = scores.masked_fill(ended, -torch.inf).sort(dim=1, descending=True, stable=True)
        kept = going.indices[:, : self.beams]
        parents = parents.gather(1, kept)
        history = beams.tokens.gather(1, parents[:, :, None].expand(-1, -1, beams.tokens.shape[2]))
        longer = torch.cat([history, tokens.gather(1, kept)[:, :, None]], dim=2)
        return _Beams(going.values[:, : self.beams], longer), parents


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return what `values.topk(count)` does: the largest are in the blocks with the largest maxima.

    To search the blocks' maxima, and then the candidates, takes half the time on a CPU.
    """
    blocks = pad(values, (0, -values.shape[-1] % _BLOCK), value=-torch.inf).unflatten(-1, (-1, _BLOCK))
    if blocks.shape[-2] <= count:
        return torch.topk(values, count)
    chosen = blocks.amax(dim=-1).topk(count).indices
    found, places = blocks.take_along_dim(chosen[..., None], dim=-2).flatten(-2).topk(count)
    return found, chosen.gather(-1, places // _BLOCK) * _BLOCK + places % _BLOCK


def _without_dead_ends(lineage: Tensor, context: Context) -> tuple[Tensor, Context]:
    """Forget tokens that no beam continues; texts that have fewer others keep some of them."""
    alive = lineage.any(dim=1)
    kept = int(alive.sum(dim=1).max())
    slots = alive.long().argsort(dim=1, descending=True, stable=True)[:, :kept]
    context = context.keep(context.valid.shape[1] - lineage.shape[2], slots)
    return lineage.take_along_dim(slots[:, None], dim=2), context


def _offer(
    best: list[tuple[float, tuple[int, ...]]], text: int, score: float, tokens: list[int], ended: int = 0
) -> None:
    """Keep the text with the best mean log-probability; an end token counts as one of its tokens."""
    if score > -np.inf:
        best[text] = max(best[text], (score / (len(tokens) + ended), tuple(tokens)), key=lambda pair: pair[0])
