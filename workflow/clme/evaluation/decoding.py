"""Greedy decoding and sampling for many rows, each under its own edit.

An expected text is verified with one pass over it; tokens are generated one by one only from the
first place where the arg-max differs from it. That is exact: greedy decoding gives the same tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clme.edits import Edit, Fired, edit_hooks
from clme.evaluation.sampling import Sampler
from clme.models.context import Context
from clme.models.decoder import Decoder, padded
from clme.padding import alike, evenly

_HEAD_POSITIONS = 256


@dataclass
class Continuation:
    """What became of a row.

    Attributes:
        same: the edit acts at the prompt's end only and did not fire: all is as without the edit,
            and the other attributes are empty.
        output: greedy token ids; ends with an end token where the model ended the text.
        sampled: sampled token ids; empty unless asked for.
        verified: tokens that were taken from the expected continuation.
        generated: tokens that were generated one by one.
    """

    same: bool
    output: tuple[int, ...] = ()
    sampled: tuple[int, ...] = ()
    verified: int = 0
    generated: int = 0


@dataclass(frozen=True)
class Row:
    """A prompt to be continued under an edit.

    Attributes:
        prompt: token ids, at least one.
        tokens: how many new tokens at most.
        expected: the continuation that is thought likely, for verification; may be empty or wrong.
        edit: the edit that the model is under.
        noise: for sampling besides: random numbers of this row, [steps, beams * top_k]; None for
            greedy decoding only.
        fired: what becomes of the row where an edit that acts at the prompt's end only fires, if that is
            known.
    """

    prompt: tuple[int, ...]
    tokens: int
    expected: tuple[int, ...]
    edit: Edit
    noise: Tensor | None = None
    fired: Continuation | None = None


@dataclass(frozen=True)
class _Prompts:
    """Prompts that have been read: the context, and the logits [rows, vocabulary] of the next token."""

    edits: list[Edit]
    context: Context
    logits: Tensor


class Continuer:
    """Continues prompts under edits.

    Args:
        decoder: the model.
        ends: ids of the tokens that end a text.
        sampler: for rows with noise.
        batch_tokens: how many tokens of prompts, and of the texts after them, are held at once at most (at
            least one row is).
        padding: the part of padding among them at most.
    """

    def __init__(
        self,
        decoder: Decoder,
        ends: frozenset[int],
        sampler: Sampler,
        batch_tokens: int,
        padding: float = 1.0,
    ) -> None:
        self._decoder, self._sampler, self._batch_tokens = decoder, sampler, batch_tokens
        self._ends, self._padding = ends, padding

    @torch.inference_mode()
    def continue_rows(self, rows: Sequence[Row]) -> list[Continuation]:
        """Continue each row; the results are in the order of `rows`."""
        results: dict[int, Continuation] = {}
        for chunk in self._chunks(rows):
            results |= zip(chunk, self._continue_chunk([rows[number] for number in chunk]), strict=True)
        return [results[number] for number in range(len(rows))]

    def _chunks(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Put rows of like length together, so that little is padding, and apart those that are sampled.

        Sampling takes longest, one step after the other: its steps are worth being full.
        """
        for sampled in (True, False):
            chosen = [number for number, row in enumerate(rows) if (row.noise is not None) == sampled]
            held = [self._held(rows[number]) for number in chosen]
            for part in evenly(held, self._batch_tokens):
                yield [chosen[place] for place in part]

    def _held(self, row: Row) -> int:
        """Return how many tokens of a row are held at once: the prompt, and what is written after it."""
        sampled = self._sampler.held if row.noise is not None else 0
        return len(row.prompt) + max(row.tokens, sampled)

    def _continue_chunk(self, rows: list[Row]) -> list[Continuation]:
        prompts, live, known = self._read_all_prompts(rows)
        results = [Continuation(same=True) for _ in rows]
        for number in known:
            results[number] = rows[number].fired or results[number]
        if not live:
            return results
        for number, result in zip(live, self._greedy(prompts, [rows[n] for n in live]), strict=True):
            results[number] = result
        noises = {
            place: row.noise for place, number in enumerate(live) if (row := rows[number]).noise is not None
        }
        if noises:
            noise = torch.stack(list(noises.values())).to(self._decoder.device)
            for place, ids in zip(noises, self._sample(prompts, list(noises), noise), strict=True):
                results[live[place]].sampled = ids
        return results

    def _read_all_prompts(self, rows: list[Row]) -> tuple[_Prompts, list[int], list[int]]:
        """Read prompts of like length together, and put them side by side; returns as `_read_prompts`."""
        read: list[_Prompts] = []
        live: list[int] = []
        known: list[int] = []
        for group in alike([len(row.prompt) for row in rows], self._padding):
            prompts, among_live, among_known = self._read_prompts([rows[number] for number in group])
            read += [prompts] if among_live else []
            live += [group[place] for place in among_live]
            known += [group[place] for place in among_known]
        if len(read) < 2:
            return read[0] if read else prompts, live, known
        edits = [edit for prompts in read for edit in prompts.edits]
        context = Context.stacked([prompts.context for prompts in read])
        return _Prompts(edits, context, torch.cat([prompts.logits for prompts in read])), live, known

    def _read_prompts(self, rows: list[Row]) -> tuple[_Prompts, list[int], list[int]]:
        """Read the prompts up to the last layer, but not those of which it turns out what becomes of them.

        Returns:
            The prompts under an edit that makes a difference, and their numbers in `rows`; the numbers of
            those that fire, and it is known what follows.
        """
        decoder = self._decoder
        edits = [row.edit for row in rows]
        ids, mask = padded([row.prompt for row in rows], decoder.device)
        ends = mask.sum(dim=1) - 1
        fired = Fired(len(rows), decoder.device)
        live, known = torch.arange(len(rows), device=decoder.device), list[int]()
        # Up to the highest codebook it is not known which rows matter; above it, the others are left out.
        highest = [
            delta.site.layer for edit in edits if edit.acts_at_prompt_end_only for delta in edit.deltas
        ]
        middle = max(highest, default=-1) + 1
        hooks = edit_hooks(edits, prompt_end=ends, fired=fired)
        hidden, lower = decoder.read(ids, mask, stop=middle, hooks=hooks)
        if middle:
            always = torch.tensor(
                [bool(e.deltas) and not e.acts_at_prompt_end_only for e in edits], device=decoder.device
            )
            unknown = torch.tensor([not edit.deltas for edit in edits], device=decoder.device)
            foreseen = torch.tensor([row.fired is not None for row in rows], device=decoder.device)
            known = live[fired.rows & foreseen].tolist()
            live = live[(fired.rows & ~foreseen) | always | unknown]
            hidden, lower, mask, ends = hidden[live], lower.rows(live), mask[live], ends[live]
        chosen = [edits[number] for number in live.tolist()]
        if not chosen:
            return _Prompts([], lower, hidden[:, 0]), [], known
        hooks = edit_hooks(chosen, prompt_end=ends)
        hidden, upper = decoder.read(hidden, mask, first=middle, hooks=hooks)
        rows_ = torch.arange(len(chosen), device=decoder.device)
        logits = decoder.logits(hidden[rows_, ends])
        return _Prompts(chosen, lower.joined(upper), logits), live.tolist(), known

    def _greedy(self, prompts: _Prompts, rows: list[Row]) -> list[Continuation]:
        outputs, context, logits = self._verify(prompts, rows)
        verified = [len(output) for output in outputs]
        active = list(range(len(rows)))
        edits = prompts.edits
        while True:
            next_ids = logits.argmax(dim=1).tolist()
            going = []
            for place, (number, token) in enumerate(zip(active, next_ids, strict=True)):
                if self._finished(outputs[number], rows[number]):
                    continue
                outputs[number].append(token)
                if not self._finished(outputs[number], rows[number]):
                    going.append(place)
            if not going:
                break
            if len(going) < len(active):
                context = context.rows(torch.tensor(going, device=self._decoder.device))
                active = [active[place] for place in going]
            tokens = torch.tensor([[outputs[number][-1]] for number in active], device=self._decoder.device)
            after, context = self._next(tokens, context, [edits[number] for number in active])
            logits = after[:, -1]
        return [
            Continuation(False, tuple(output), verified=known, generated=len(output) - known)
            for output, known in zip(outputs, verified, strict=True)
        ]

    def _finished(self, output: list[int], row: Row) -> bool:
        return len(output) >= row.tokens or (bool(output) and output[-1] in self._ends)

    def _verify(self, prompts: _Prompts, rows: list[Row]) -> tuple[list[list[int]], Context, Tensor]:
        """Read the expected continuations; keep what greedy decoding would have given.

        Returns:
            The verified tokens of each row, the context after them, and the logits after them.
        """
        decoder = self._decoder
        expected, mask = padded([row.expected[: row.tokens] for row in rows], decoder.device)
        if expected.shape[1] == 0:
            return [[] for _ in rows], prompts.context, prompts.logits
        hooks = edit_hooks(prompts.edits, prompt_end=None)
        hidden, context = decoder.read(expected, mask, prompts.context, hooks=hooks)
        first = prompts.logits.argmax(dim=1, keepdim=True)
        likeliest = torch.cat([first, self._likeliest(hidden[:, :-1], mask[:, 1:])], dim=1)
        known = ((likeliest == expected) & mask).long().cumprod(dim=1).sum(dim=1)
        slots = torch.arange(expected.shape[1], device=decoder.device)
        wrong = torch.cat([torch.zeros_like(prompts.context.valid), slots[None] >= known[:, None]], dim=1)
        outputs = [list(row.expected[:count]) for row, count in zip(rows, known.tolist(), strict=True)]
        number = torch.arange(len(rows), device=decoder.device)
        after = decoder.logits(hidden[number, (known - 1).clamp(min=0)])
        logits = torch.where(known[:, None] > 0, after, prompts.logits)
        return outputs, context.without(wrong), logits

    def _likeliest(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the likeliest next tokens [rows, tokens] where `mask` is set, else -1.

        The head runs over parts of the positions: all logits at once would be the largest tensor of all.
        """
        found = torch.full(mask.shape, -1, dtype=torch.long, device=hidden.device)
        parts = hidden[mask].split(_HEAD_POSITIONS)
        found[mask] = torch.cat([self._decoder.logits(part).argmax(dim=1) for part in parts])
        return found

    def _next(
        self, tokens: Tensor, context: Context, edits: list[Edit], seen: Tensor | None = None
    ) -> tuple[Tensor, Context]:
        """Read one more token, or one of each beam [rows, tokens]; return the logits after each."""
        mask = torch.ones_like(tokens, dtype=torch.bool)
        hooks = edit_hooks(edits, prompt_end=None)
        hidden, context = self._decoder.read(tokens, mask, context, hooks=hooks, seen=seen)
        return self._decoder.logits(hidden), context

    def _sample(self, prompts: _Prompts, chosen: list[int], noise: Tensor) -> list[tuple[int, ...]]:
        index = torch.tensor(chosen, device=self._decoder.device)
        edits = [prompts.edits[place] for place in chosen]
        context = prompts.context.rows(index).with_room(self._sampler.held)
        read = context.valid[:, None]

        def step(tokens: Tensor, lineage: Tensor, context: Context) -> tuple[Tensor, Context]:
            seen = torch.cat([read.expand(-1, tokens.shape[1], -1), lineage], dim=2)
            return self._next(tokens, context, edits, seen)

        return self._sampler.sample(context, prompts.logits[index], noise, step)
