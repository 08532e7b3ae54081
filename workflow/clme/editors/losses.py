"""Losses that editors share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clme.models.decoder import Decoder

_HEAD_POSITIONS = 256


def target_loss(
    decoder: Decoder, hidden: Tensor, starts: Sequence[int], targets: Sequence[tuple[int, ...]]
) -> Tensor:
    """Return each row's mean cross-entropy over its target's tokens, in nats: [rows].

    The output head is applied at the positions that predict the target only.

    Args:
        decoder: the model.
        hidden: [rows, tokens, d], what leaves the last layer.
        starts: for each row, the position that predicts the target's first token.
        targets: each row's target tokens.
    """
    return target_loss_and_hits(decoder, hidden, starts, targets)[0]


def target_loss_and_hits(
    decoder: Decoder, hidden: Tensor, starts: Sequence[int], targets: Sequence[tuple[int, ...]]
) -> tuple[Tensor, Tensor]:
    """Return what `target_loss` does, and whether each row's target is the arg-max throughout: [rows]."""
    lengths = [len(target) for target in targets]
    rows = torch.tensor([row for row, length in enumerate(lengths) for _ in range(length)])
    places = torch.cat([torch.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)])
    wanted = torch.tensor([token for target in targets for token in target], device=hidden.device)
    predicting = hidden[rows.to(hidden.device), places.to(hidden.device)]
    losses, hits = _TokenLosses.apply(predicting, wanted, decoder)
    means = torch.stack([part.mean() for part in losses.split(lengths)])
    return means, torch.stack([part.all() for part in hits.split(lengths)])


class _TokenLosses(torch.autograd.Function):
    """The cross-entropy of each token, without ever holding the logits of all of them.

    A token's loss depends on its own hidden state only, so its gradient is taken at once, part by part,
    and waits for the backward pass: as many operations as usual, and a fraction of the memory.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, wanted: Tensor, decoder: Decoder) -> tuple[Tensor, Tensor]:
        """Return the loss [n] of hidden states [n, d] that predict tokens [n], and whether each is a hit."""
        losses, hits, gradients = [], [], []
        for part, tokens in zip(hidden.split(_HEAD_POSITIONS), wanted.split(_HEAD_POSITIONS), strict=True):
            with torch.set_grad_enabled(ctx.needs_input_grad[0]):
                leaf = part.detach().requires_grad_(ctx.needs_input_grad[0])
                logits = decoder.logits(leaf)
                loss = cross_entropy(logits.float(), tokens, reduction="none")
                if ctx.needs_input_grad[0]:
                    gradients += torch.autograd.grad(loss.sum(), leaf)
            losses.append(loss.detach())
            hits.append(logits.detach().argmax(dim=1) == tokens)
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
        found = torch.cat(hits)
        ctx.mark_non_differentiable(found)
        return torch.cat(losses), found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Scale the saved gradients [n, d] by those of the losses [n]."""
        (saved,) = ctx.saved_tensors
        return saved * gradients[0][:, None].to(saved.dtype), None, None
