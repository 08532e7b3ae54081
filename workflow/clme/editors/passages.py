"""Requests in contexts: the rows that ROME, MEMIT and PMET read and optimise over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from clme.editors.base import Request
from clme.editors.contexts import Contexts
from clme.editors.losses import target_loss
from clme.edits import Edit, edit_hooks
from clme.models.context import Context
from clme.models.decoder import Decoder, padded

KlPrompt = Literal["subject", "prompt"]


@dataclass(frozen=True)
class Passages:
    """Each request in each context, read up to a layer; rows are grouped by request.

    A group has a row for each context, the bare prompt first; if the subject is asked for, one more row
    with the subject alone. What the editors change acts from the prompt's last token on, so the tokens
    before it are read once and for all layers.

    Attributes:
        requests: the batch.
        group: rows of a request.
        contexts: those of them that are the request in a context; they come first.
        start: the layer that the rows have been read up to.
        before: [rows, tokens, d], what enters `start` at the tokens before the prompt's last one.
        before_mask: [rows, tokens].
        ends: [rows, 1 + longest target - 1, d], what enters `start` at the prompt's last token and the
            target but for its last token.
        ends_mask: the same without d.
        context: keys and values at the tokens before: of all layers, or of those below `start`.
    """

    requests: tuple[Request, ...]
    group: int
    contexts: int
    start: int
    before: Tensor
    before_mask: Tensor
    ends: Tensor
    ends_mask: Tensor
    context: Context

    @classmethod
    @torch.no_grad()
    def read(
        cls,
        decoder: Decoder,
        requests: Sequence[Request],
        contexts: Contexts,
        start: int,
        *,
        subject: bool,
        whole: bool = True,
    ) -> Self:
        """Read the requests.

        Args:
            decoder: the unedited model.
            requests: the batch.
            contexts: the model's.
            start: the lowest layer that the editor acts in.
            subject: whether each group has a row with the subject alone.
            whole: whether the tokens before are read through all layers, as a search needs them.
        """
        rows = [row for request in requests for row in _rows(request, contexts, subject)]
        before, before_mask = padded([prompt[:-1] for prompt, _ in rows], decoder.device)
        ids, mask = padded([prompt[-1:] + target[:-1] for prompt, target in rows], decoder.device)
        hidden, context = decoder.read(before, before_mask, stop=start)
        if whole:
            context = context.joined(decoder.read(hidden, before_mask, first=start)[1])
        ends, _ = decoder.read(ids, mask, context, stop=start)
        number = len(contexts.prefixes)
        group = number + subject
        return cls(tuple(requests), group, number, start, hidden, before_mask, ends, mask, context)

    def of(self, numbers: Sequence[int]) -> Self:
        """Keep the requests of these numbers."""
        index = self.groups(numbers).flatten()
        return replace(
            self,
            requests=tuple(self.requests[number] for number in numbers),
            before=self.before[index],
            before_mask=self.before_mask[index],
            ends=self.ends[index],
            ends_mask=self.ends_mask[index],
            context=self.context.rows(index),
        )

    def groups(self, numbers: Sequence[int] | None = None) -> Tensor:
        """Return the row numbers [requests, group] of these requests, or of all."""
        chosen = range(len(self.requests)) if numbers is None else numbers
        device = self.ends.device
        firsts = torch.tensor(list(chosen), dtype=torch.long, device=device) * self.group
        return firsts[:, None] + torch.arange(self.group, device=device)

    def prompts(self, *, bare: bool) -> tuple[Tensor, Tensor]:
        """Return the whole prompts as they enter `start`, each ending in the last position.

        Args:
            bare: the bare prompts only, one per request; otherwise one per request and context.

        Returns:
            [rows, tokens, d] and the mask [rows, tokens].
        """
        index = self.groups()[:, : 1 if bare else self.contexts].flatten()
        hidden = torch.cat([self.before[index], self.ends[index, :1]], dim=1)
        return hidden, torch.cat([self.before_mask[index], self.ends_mask[index, :1]], dim=1)

    @torch.no_grad()
    def losses(self, decoder: Decoder, edits: Sequence[Edit]) -> list[float]:
        """Return the target's mean cross-entropy after each request's bare prompt under its edit."""
        index = self.groups()[:, 0]
        hidden = torch.cat([self.before[index], self.ends[index]], dim=1)
        mask = torch.cat([self.before_mask[index], self.ends_mask[index]], dim=1)
        out, _ = decoder.read(hidden, mask, first=self.start, hooks=edit_hooks(edits, prompt_end=None))
        starts = [self.before.shape[1]] * len(edits)
        return target_loss(decoder, out, starts, [request.target for request in self.requests]).tolist()


def _rows(
    request: Request, contexts: Contexts, subject: bool
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return prompt and target of each row of a request; the subject's row has no target."""
    inner = request.prompt if request.prompt_in_text is None else request.prompt_in_text
    rows = [(prefix + inner if prefix else request.prompt, request.target) for prefix in contexts.prefixes]
    return [*rows, (request.prompt[-request.subject :], ())] if subject else rows
