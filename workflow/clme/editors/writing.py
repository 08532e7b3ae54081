"""Changes of rank one: checked, and written into several layers (MEMIT's and PMET's closed form)."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from clme.editors.base import Failure
from clme.editors.moments import Moments
from clme.editors.passages import Passages
from clme.editors.vectors import Vectors
from clme.edits import Edit, LowRank, edit_hooks
from clme.errors import UserError
from clme.models.decoder import Decoder, Site


def check_width(decoder: Decoder, site: Site) -> None:
    """Make sure that a module writes into the hidden states.

    Raises:
        UserError: it writes another number of values.
    """
    width, hidden = decoder.linear(site).out_features, decoder.embedding.embedding_dim
    if width != hidden:
        raise UserError(
            f"module {site.module!r}: writes {width} values, the hidden states have {hidden}; choose one that"
            " writes into them, such as mlp.down_proj"
        )


def results(
    decoder: Decoder,
    passages: Passages,
    found: Sequence[Vectors | Failure],
    changes: Mapping[int, tuple[LowRank, ...]],
) -> list[Edit | Failure]:
    """Return the edits with the loss under them, in the order of `found`.

    Args:
        decoder: the unedited model.
        passages: all requests.
        found: what the search found for each.
        changes: by the request's number, for all that have not failed.
    """
    numbers = list(changes)
    edits = [Edit(changes[number]) for number in numbers]
    losses = passages.of(numbers).losses(decoder, edits) if numbers else []
    made = dict(zip(numbers, zip(edits, losses, strict=True), strict=True))
    outcomes: list[Edit | Failure] = []
    for number, one in enumerate(found):
        if isinstance(one, Failure):
            outcomes.append(one)
            continue
        edit, loss = made[number]
        if math.isfinite(loss):
            outcomes.append(Edit(edit.deltas, one.steps, loss))
        else:
            outcomes.append(Failure(f"the loss became {loss} when the change was written"))
    return outcomes


class Spreading:
    """Makes for each request one rank-one change in each layer, from the lowest to the highest.

    For layer l with d layers left, itself included: the key k is the mean, over contexts, of the module's
    input at the prompt's last token, under the changes below; the residual r is what still lacks at the
    goal, divided by `share(d)`; the change is r ((w C + k k^T)^-1 k)^T (Meng et al., 2023, Equations 14
    and 20), with C the second moments and w their weight. In float64, as the sources do it.

    Args:
        decoder: the unedited model.
        passages: the requests, read up to the lowest layer.
        sites: the modules to be changed, from the lowest layer to the highest.
        goal: where the residual is measured: an output at or above the highest site.
        moments: of all sites.
        weight: w.
        share: the part of the residual that a layer takes is one over this.
    """

    def __init__(
        self,
        decoder: Decoder,
        passages: Passages,
        sites: Sequence[Site],
        goal: Site,
        moments: Moments,
        weight: float,
        share: Callable[[int], float],
    ) -> None:
        self._decoder, self._passages = decoder, passages
        self._sites, self._goal = list(sites), goal
        self._moments, self._weight, self._share = moments, weight, share

    @torch.no_grad()
    def run(self, wanted: Tensor) -> list[tuple[LowRank, ...]]:
        """Return the changes of each request.

        Args:
            wanted: [requests, d], what the goal is to say at the end of the bare prompts.
        """
        hidden, mask = self._passages.prompts(bare=False)
        bare = torch.arange(0, len(hidden), self._passages.contexts, device=hidden.device)
        changes: list[list[LowRank]] = [[] for _ in wanted]
        for number, site in enumerate(self._sites):
            said = self._said(hidden[bare], mask[bare], site.layer)
            residual = (wanted - said).double() / self._share(len(self._sites) - number)
            hook = partial(self._write, site, residual, changes)
            hidden, _ = self._decoder.read(
                hidden, mask, first=site.layer, stop=self._next(number), hooks=[(site, hook)]
            )
        return [tuple(each) for each in changes]

    def _next(self, number: int) -> int:
        """Return the layer to stop before: the next site's, or past the last one's own."""
        following = self._sites[number + 1 :]
        return following[0].layer if following else self._sites[number].layer + 1

    def _said(self, hidden: Tensor, mask: Tensor, layer: int) -> Tensor:
        """Return what the goal says now [requests, d], reading on from a layer."""
        said: list[Tensor] = []
        hook = (self._goal, lambda _, y: said.append(y[:, -1]))
        self._decoder.read(hidden, mask, first=layer, stop=self._goal.layer + 1, hooks=[hook])
        return said[0].float()

    def _write(
        self, site: Site, residual: Tensor, changes: list[list[LowRank]], x: Tensor, y: Tensor
    ) -> Tensor | None:
        """A hook: find the keys among the site's inputs, note the changes, and put the rows under them."""
        keys = x[:, -1].view(len(residual), self._passages.contexts, -1).double()
        key = (keys[:, 0] + keys[:, 1:].mean(dim=1)) / 2
        solved = self._moments.solve(site, key.T).T / self._weight
        adjusted = solved / (1 + (key * solved).sum(dim=1, keepdim=True))
        new = [
            LowRank(site, left[:, None].float(), right[None].float())
            for left, right in zip(residual, adjusted, strict=True)
        ]
        for each, change in zip(changes, new, strict=True):
            each.append(change)
        edits = [edit for edit in map(_alone, new) for _ in range(self._passages.contexts)]
        ((_, under_edit),) = edit_hooks(edits, prompt_end=None)
        return under_edit(x, y)


def _alone(change: LowRank) -> Edit:
    return Edit((change,))
