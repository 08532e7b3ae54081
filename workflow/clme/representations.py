"""A prompt's representation at a module: the module's input, pooled over the prompt's tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clme.errors import UserError
from clme.models.decoder import Decoder, Hook, Site, padded
from clme.tensors import read_tensor_metadata

Pool = Literal["last", "mean"]


@dataclass(frozen=True)
class Pooled:
    """Representations of prompts, in float32.

    Attributes:
        last: [prompts, d_in], the module's input at the last token.
        mean: [prompts, d_in], its mean over all tokens.
    """

    last: Tensor
    mean: Tensor

    def of(self, how: Pool) -> Tensor:
        """Return one of the two."""
        return self.last if how == "last" else self.mean


def pool(x: Tensor, ends: Tensor, how: Pool) -> Tensor:
    """Pool each row's tokens up to its end; what stands behind, such as padding, has no part in it.

    Args:
        x: [rows, tokens, d].
        ends: [rows], the position of each row's last token; the first is at 0.
        how: take the ``last`` token, or the ``mean`` of all.

    Returns:
        [rows, d] in float32.
    """
    if how == "last":
        return x[torch.arange(len(x), device=x.device), ends].float()
    inside = torch.arange(x.shape[1], device=x.device) <= ends[:, None]
    # Not a product with the mask: what stands at padding may be infinite.
    return torch.where(inside[..., None], x.float(), 0).sum(dim=1) / (ends[:, None] + 1)


def watch(site: Site, ends: Tensor, found: list[Pooled]) -> tuple[Site, Hook]:
    """Return a hook that appends the representations of the prompts that are being read to `found`."""

    def hook(x: Tensor, _: Tensor) -> None:
        found.append(Pooled(pool(x, ends, "last"), pool(x, ends, "mean")))

    return site, hook


@torch.no_grad()
def represent(
    decoder: Decoder, site: Site, prompts: Sequence[Sequence[int]], batch_tokens: int | None = None
) -> Pooled:
    """Read prompts up to a module and return their representations.

    Args:
        decoder: the model.
        site: the module.
        prompts: token ids, each at least one.
        batch_tokens: tokens that are read at once at most; None for all.
    """
    last = torch.empty(len(prompts), decoder.linear(site).in_features, device=decoder.device)
    mean = torch.empty_like(last)
    for numbers in _batches(prompts, batch_tokens):
        ids, mask = padded([prompts[number] for number in numbers], decoder.device)
        found: list[Pooled] = []
        hook = watch(site, mask.sum(dim=1) - 1, found)
        decoder.read(ids, mask, stop=site.layer + 1, hooks=[hook])
        last[numbers], mean[numbers] = found[0].last, found[0].mean
    return Pooled(last, mean)


def _batches(prompts: Sequence[Sequence[int]], batch_tokens: int | None) -> Iterator[list[int]]:
    """Put prompts of like length together, so that little is padding."""
    batch: list[int] = []
    for number in sorted(range(len(prompts)), key=lambda number: len(prompts[number])):
        if batch and batch_tokens is not None and (len(batch) + 1) * len(prompts[number]) > batch_tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


class Representations:
    """A file of representations: of each case's prompt, rephrase and neighbours, in this order.

    Only what is asked for is read: for a large model the file is larger than memory.

    Args:
        path: made by `clme prepare representations`.

    Raises:
        UserError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            ids = read_tensor_metadata(path)["case_ids"]
            self._stored = safe_open(path, framework="pt")
            self._starts = self._stored.get_tensor("starts").tolist()
        except (KeyError, SafetensorError) as error:
            raise UserError(f"{path}: holds no representations; make it anew ({error!r})") from error
        self._number = {case_id: number for number, case_id in enumerate(ids)}

    def __contains__(self, case_id: str) -> bool:
        return case_id in self._number

    def of(self, case_id: str, how: Pool) -> Tensor:
        """Return a case's representations: [2 + neighbours, d_in].

        Raises:
            UserError: the file lacks the case.
        """
        if case_id not in self._number:
            raise UserError(f"{self._path}: lacks case {case_id}; make it anew")
        number = self._number[case_id]
        found: Tensor = self._stored.get_slice(how)[self._starts[number] : self._starts[number + 1]]
        return found
