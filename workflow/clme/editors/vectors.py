"""The search for what a module should say: vectors added at the prompt's last token (ROME, MEMIT, PMET)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from clme.editors.base import EditorConfig, Failure
from clme.editors.contexts import STARTS
from clme.editors.losses import target_loss_and_hits
from clme.editors.passages import Passages
from clme.editors.rows import shrink
from clme.models.decoder import Decoder, Hook, Site
from clme.tensors import read_tensor_metadata, read_tensors


class VectorConfig(EditorConfig):
    """Hyperparameters of the search; the defaults are the released code's, the paper being silent.

    The loss is that of Meng et al. (2022), Equation 4, with a penalty on the vector's length.
    """

    contexts: int = Field(
        len(STARTS),
        ge=1,
        le=len(STARTS),
        description="sampled texts before the prompt under which the target is to become likely, beside none",
    )
    steps: int = Field(
        25, ge=1, description="times the loss is computed at most, an update less (v_num_grad_steps)"
    )
    learning_rate: float = Field(0.5, gt=0, description="Adam's learning rate (v_lr)")
    stop_loss: float = Field(0.05, ge=0, description="a request whose loss is below stops")
    weight_decay: float = Field(
        1e-3, ge=0, description="weight of the vector's norm over the squared norm of what it is added to"
    )
    clamp_norm_factor: float = Field(
        4.0, gt=0, description="bound of the vector's norm, in norms of what it is added to"
    )
    kl_factor: float = Field(
        0.0625, ge=0, description="weight of the divergence from the unedited model (Equation 4)"
    )
    kl_prompt: Literal["subject", "prompt"] = Field(
        "subject",
        description="where that is taken: after the subject alone (Equation 4), the prompt's last word, or"
        " after the edited prompt itself (released code)",
    )


@dataclass(frozen=True)
class Vectors:
    """What was found for a request.

    Attributes:
        initial: [sites, d], what the sites say at the end of the bare prompt in the unedited model.
        added: [sites, d], what is to be added there.
        steps: updates that were made.
    """

    initial: Tensor
    added: Tensor
    steps: int


class StoredVectors:
    """A file of vectors that were found; it lacks the requests whose search has failed.

    Args:
        path: made by `clme prepare vectors`.
        device: where the vectors go.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self._tensors = read_tensors(path, device)
        case_ids = read_tensor_metadata(path)["case_ids"]
        self._number = {case_id: number for number, case_id in enumerate(case_ids)}

    def __contains__(self, case_id: str) -> bool:
        return case_id in self._number

    def of(self, case_id: str) -> Vectors:
        """Return what was found for a request."""
        number = self._number[case_id]
        initial, added = self._tensors["initial"][number], self._tensors["added"][number]
        return Vectors(initial, added, int(self._tensors["steps"][number]))


class Ease(NamedTuple):
    """What PMET does while a target is the arg-max in all contexts: weaken its likelihood, or stop.

    Attributes:
        factor: of the likelihood term in the next step.
        kl: the search stops where the divergence term (weighted) is not above.
    """

    factor: float
    kl: float


def check_sites(decoder: Decoder, sites: Sequence[Site]) -> None:
    """Make sure that the model has the modules where vectors are sought.

    Raises:
        UserError: a layer is out of range, or a module is missing.
    """
    for site in sites:
        if site.module:
            decoder.site(*site)


class VectorSearch:
    """Optimises a vector for each site and request of a batch by Adam; finished requests leave the batch.

    Args:
        decoder: the model.
        passages: the requests, read up to the first site's layer or below.
        sites: where the vectors are added; a module's output, or a layer's (`module` is empty then).
        config: hyperparameters.
        ease: PMET's rule; None for ROME and MEMIT.
    """

    def __init__(
        self,
        decoder: Decoder,
        passages: Passages,
        sites: Sequence[Site],
        config: VectorConfig,
        ease: Ease | None = None,
    ) -> None:
        self._decoder, self._sites, self._config, self._ease = decoder, list(sites), config, ease
        self._first = min(site.layer for site in sites)
        self._passages = passages
        self._hidden = self._entering(passages)

    @torch.no_grad()
    def _entering(self, passages: Passages) -> Tensor:
        """Return what enters the first site's layer at the prompt's last token and the target."""
        rows = (passages.ends, passages.ends_mask, passages.context)
        return self._decoder.read(*rows, first=passages.start, stop=self._first)[0]

    def run(self) -> list[Vectors | Failure]:
        """Optimise until every request has stopped."""
        results: dict[int, Vectors | Failure] = {}
        active = list(range(len(self._passages.requests)))
        initial, unedited = self._initial()
        added = torch.zeros_like(initial, dtype=torch.float32, requires_grad=True)
        factors = torch.ones(len(active), device=added.device)
        optimizer = torch.optim.Adam([added], lr=self._config.learning_rate)
        for step in range(self._config.steps):
            nll, hits, divergence = self._terms(added, unedited)
            norms = torch.linalg.vector_norm(added, dim=2), torch.linalg.vector_norm(initial, dim=2)
            penalty = self._config.weight_decay * (norms[0] / norms[1] ** 2).sum(dim=1)
            losses = factors * nll + divergence + penalty
            eased = self._eased(hits)
            staying = []
            kept = zip(losses.tolist(), eased.tolist(), divergence.tolist(), strict=True)
            for place, (loss, easy, distance) in enumerate(kept):
                if not math.isfinite(loss):
                    results[active[place]] = Failure(f"the loss became {loss} in step {step + 1}")
                elif self._stops(step, loss, easy, distance):
                    vectors = added[place].detach().clone()
                    results[active[place]] = Vectors(initial[place].clone(), vectors, step)
                else:
                    staying.append(place)
            if not staying:
                break
            optimizer.zero_grad()
            losses[staying].sum().backward()
            optimizer.step()
            self._clamp(added, norms[1])
            if self._ease is not None:
                factors = torch.where(eased, self._ease.factor, 1.0)
            if len(staying) < len(active):
                active = [active[place] for place in staying]
                initial, unedited, factors = initial[staying], unedited[staying], factors[staying]
                added, optimizer = shrink(added, optimizer, staying)
                self._hidden = self._hidden[self._passages.groups(staying).flatten()]
                self._passages = self._passages.of(staying)
        return [results[number] for number in range(len(results))]

    def _eased(self, hits: Tensor) -> Tensor:
        return hits if self._ease is not None else torch.zeros_like(hits)

    def _stops(self, step: int, loss: float, eased: bool, divergence: float) -> bool:
        close = self._ease is not None and eased and divergence <= self._ease.kl
        return close or loss < self._config.stop_loss or step == self._config.steps - 1

    @torch.no_grad()
    def _clamp(self, added: Tensor, initial_norms: Tensor) -> None:
        bound = self._config.clamp_norm_factor * initial_norms
        norms = torch.linalg.vector_norm(added, dim=2)
        added *= torch.where(norms > bound, bound / norms, 1.0)[:, :, None]

    @torch.no_grad()
    def _initial(self) -> tuple[Tensor, Tensor]:
        """Return what the sites say after the bare prompts, and the distribution to be kept.

        Returns:
            [requests, sites, d] and log-probabilities [requests, vocabulary].
        """
        said: dict[Site, Tensor] = {}
        bare = self._passages.groups()[:, 0]

        def recording(site: Site) -> Hook:
            return lambda _, y: said.update({site: y[bare, 0].float()})

        hidden = self._read([recording(site) for site in self._sites])
        initial = torch.stack([said[site] for site in self._sites], dim=1)
        return initial, self._kept_distribution(hidden)

    def _terms(self, added: Tensor, unedited: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss's terms with the vectors added, each [requests].

        Returns:
            The mean over contexts of the target's mean cross-entropy; whether the target is the arg-max in
            all contexts; the weighted divergence from the unedited distribution.
        """
        passages = self._passages
        hidden = self._read([_adding(added[:, n], passages.group) for n in range(len(self._sites))])
        rows = passages.groups()[:, : passages.contexts].flatten()
        targets = [request.target for request in passages.requests for _ in range(passages.contexts)]
        losses, hits = target_loss_and_hits(self._decoder, hidden[rows], [0] * len(targets), targets)
        shape = (-1, passages.contexts)
        divergence = torch.zeros(len(passages.requests), device=hidden.device)
        if self._config.kl_factor:
            now = self._kept_distribution(hidden)
            divergence = self._config.kl_factor * (now.exp() * (now - unedited)).sum(dim=1)
        return losses.view(shape).mean(dim=1), hits.view(shape).all(dim=1), divergence

    def _read(self, hooks: Sequence[Hook]) -> Tensor:
        passages = self._passages
        pairs = list(zip(self._sites, hooks, strict=True))
        hidden, _ = self._decoder.read(
            self._hidden, passages.ends_mask, passages.context, first=self._first, hooks=pairs
        )
        return hidden

    def _kept_distribution(self, hidden: Tensor) -> Tensor:
        """Return the log-probabilities [requests, vocabulary] that the divergence is about."""
        place = -1 if self._config.kl_prompt == "subject" else 0
        return self._decoder.logits(hidden[self._passages.groups()[:, place], 0]).float().log_softmax(dim=1)


def _adding(vectors: Tensor, group: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a hook that adds a vector [requests, d] at the first position of each of a request's rows."""

    def hook(_: Tensor, y: Tensor) -> Tensor:
        moved = y[:, :1] + vectors.repeat_interleave(group, dim=0)[:, None].to(y.dtype)
        return torch.cat([moved, y[:, 1:]], dim=1)

    return hook
