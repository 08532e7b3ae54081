"""Losses that editors share."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clme.models.decoder import Decoder


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
    lengths = [len(target) for target in targets]
    rows = torch.tensor([row for row, length in enumerate(lengths) for _ in range(length)])
    places = torch.cat([torch.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)])
    logits = decoder.logits(hidden[rows.to(hidden.device), places.to(hidden.device)])
    wanted = torch.tensor([token for target in targets for token in target], device=hidden.device)
    losses = cross_entropy(logits.float(), wanted, reduction="none")
    return torch.stack([part.mean() for part in losses.split(lengths)])
