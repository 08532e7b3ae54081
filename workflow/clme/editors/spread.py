"""What MEMIT and PMET share: one search at the highest layer, changes in all layers."""

import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import AfterValidator, Field

from clme.editors import contexts, moments
from clme.editors.base import Editor, Failure, Need, Request
from clme.editors.contexts import Contexts
from clme.editors.moments import Moments
from clme.editors.passages import Passages
from clme.editors.vectors import Ease, StoredVectors, VectorConfig, Vectors, VectorSearch, check_sites
from clme.editors.writing import Spreading, check_width, results
from clme.edits import Edit
from clme.models.decoder import Decoder, Site


def _ascending(layers: tuple[int, ...]) -> tuple[int, ...]:
    if any(lower >= higher for lower, higher in itertools.pairwise(layers)):
        raise ValueError("expected layers from the lowest to the highest, each once")
    return layers


Layers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_ascending)]


class SpreadConfig(VectorConfig):
    """Hyperparameters that MEMIT and PMET share; layers by the paper (Section III-F), the others by the
    released code."""

    layers: Layers = Field((4, 5, 6, 7, 8), description="layers whose matrices are changed, counted from 0")
    module: str = Field("mlp.down_proj", description="linear module within each layer")
    mom2_update_weight: float = Field(
        15_000, gt=0, description="weight of the second moments (lambda, Meng et al., 2023, Equation 15)"
    )


class Spread(Editor):
    """Seeks what the highest layer is to say, and writes it into all layers by changes of rank one.

    Attributes:
        ease: PMET's rule for the search.
    """

    Config = SpreadConfig
    released = {"kl_prompt": "prompt"}  # noqa: RUF012
    ease: ClassVar[Ease | None] = None
    _known: StoredVectors | None = None

    @abstractmethod
    def searched(self) -> list[Site]:
        """Return where vectors are sought; the first site is the one whose output is written."""

    @abstractmethod
    def share(self, left: int) -> float:
        """Return what the residual is divided by with so many layers left, the current one included."""

    def check(self, decoder: Decoder) -> None:
        """See the base class."""
        for site in self._sites(decoder):
            check_width(decoder, site)
        check_sites(decoder, self.searched())

    def _sites(self, decoder: Decoder) -> list[Site]:
        return [decoder.site(layer, self.config.module) for layer in self.config.layers]

    def needs(self) -> tuple[Need, ...]:
        """See the base class."""
        sought = self.config.model_dump(include=set(VectorConfig.model_fields))
        sought["seed"] = self.seed
        sought["sites"] = [list(site) for site in self.searched()]
        sought["ease"] = self.ease and list(self.ease)
        return (
            contexts.need(self.seed),
            moments.need(self.config.layers, self.config.module),
            Need("vectors", sought, shortcut=True),
        )

    def load(self, decoder: Decoder, files: Mapping[str, Path]) -> None:
        """See the base class."""
        self._contexts = Contexts.load(files["contexts"], self.config.contexts)
        self._moments = Moments.load(files["moments"], decoder, self._sites(decoder))
        if "vectors" in files:
            self._known = StoredVectors(files["vectors"], decoder.device)

    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """See the base class."""
        config: SpreadConfig = self.config
        known = self._known is not None and all(request.case_id in self._known for request in requests)
        passages = Passages.read(
            decoder,
            requests,
            self._contexts,
            config.layers[0],
            subject=not known and config.kl_prompt == "subject",
            whole=not known,
        )
        found = self._found(decoder, passages)
        kept = {number: one for number, one in enumerate(found) if isinstance(one, Vectors)}
        if not kept:
            return list(results(decoder, passages, found, {}))
        wanted = torch.stack([vectors.initial[0] + vectors.added[0] for vectors in kept.values()])
        spreading = Spreading(
            decoder,
            passages.of(list(kept)),
            self._sites(decoder),
            self.searched()[0],
            self._moments,
            config.mom2_update_weight,
            self.share,
        )
        changes = dict(zip(kept, spreading.run(wanted), strict=True))
        return results(decoder, passages, found, changes)

    def _found(self, decoder: Decoder, passages: Passages) -> list[Vectors | Failure]:
        """Look up what is known, and seek the rest."""
        names = [request.case_id for request in passages.requests]
        found: dict[int, Vectors | Failure] = {}
        if self._known is not None:
            found = {number: self._known.of(name) for number, name in enumerate(names) if name in self._known}
        others = [number for number in range(len(names)) if number not in found]
        if others:
            rest = passages.of(others) if found else passages
            search = VectorSearch(decoder, rest, self.searched(), self.config, self.ease)
            found |= zip(others, search.run(), strict=True)
        return [found[number] for number in range(len(names))]
