"""ROME: one layer's matrix takes a new key and value by a change of rank one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from clme.editors import contexts, moments
from clme.editors.base import Editor, Failure, Need, Request
from clme.editors.contexts import Contexts
from clme.editors.moments import Moments
from clme.editors.passages import Passages
from clme.editors.vectors import VectorConfig, Vectors, VectorSearch
from clme.editors.writing import check_width, results
from clme.edits import Edit, LowRank
from clme.models.decoder import Decoder, Site


class RomeConfig(VectorConfig):
    """Hyperparameters of ROME; layer by the paper (Section III-F), the others by the released code."""

    layer: int = Field(5, ge=0, description="layer whose matrix is changed, counted from 0")
    module: str = Field("mlp.down_proj", description="linear module within the layer")
    mom2_adjustment: bool = Field(
        False,
        description="divide the key by the second moments C (Meng et al., 2022, Equation 2); the released"
        " code's choice is to take the identity for C",
    )


class Rome(Editor):
    """Rank-one model editing (Meng et al., 2022).

    Key k: the mean, over contexts, of the module's input at the prompt's last token (Equation 3). Value v:
    the module's output there plus a vector that makes the target likely (Equation 4). Change, with
    u = C^-1 k: (v - W k') u^T / (k'^T u), where k' is the key of the bare prompt (Equation 2).
    """

    name = "rome"
    Config = RomeConfig
    released = {"kl_prompt": "prompt"}  # noqa: RUF012

    def check(self, decoder: Decoder) -> None:
        """See the base class."""
        check_width(decoder, self._site(decoder))

    def _site(self, decoder: Decoder) -> Site:
        return decoder.site(self.config.layer, self.config.module)

    def needs(self) -> tuple[Need, ...]:
        """See the base class."""
        of_inputs = moments.need([self.config.layer], self.config.module)
        return (contexts.need(self.seed), *([of_inputs] if self.config.mom2_adjustment else []))

    def load(self, decoder: Decoder, files: Mapping[str, Path]) -> None:
        """See the base class."""
        self._contexts = Contexts.load(files["contexts"], self.config.contexts)
        self._moments = None
        if self.config.mom2_adjustment:
            self._moments = Moments.load(files["moments"], decoder, [self._site(decoder)])

    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """See the base class."""
        config: RomeConfig = self.config
        site = self._site(decoder)
        subject = config.kl_prompt == "subject"
        passages = Passages.read(decoder, requests, self._contexts, config.layer, subject=subject)
        keys = _keys(decoder, passages, site)
        found = VectorSearch(decoder, passages, [site], config).run()
        changes = {
            number: (self._change(site, keys[number], vectors),)
            for number, vectors in enumerate(found)
            if isinstance(vectors, Vectors)
        }
        return results(decoder, passages, found, changes)

    def _change(self, site: Site, keys: Tensor, vectors: Vectors) -> LowRank:
        """Return a request's change from its keys [contexts, d_in], the bare prompt's first."""
        direction = keys.mean(dim=0)
        if self._moments is not None:
            direction = self._moments.solve(site, direction[:, None])[:, 0].float()
        direction = direction / torch.linalg.vector_norm(direction)
        return LowRank(site, (vectors.added[0] / (keys[0] @ direction))[:, None], direction[None])


@torch.no_grad()
def _keys(decoder: Decoder, passages: Passages, site: Site) -> Tensor:
    """Return the site's inputs at the prompt's last token: [requests, contexts, d_in]."""
    hidden, mask = passages.ends[:, :1], passages.ends_mask[:, :1]
    captured: list[Tensor] = []
    hook = (site, lambda x, _: captured.append(x[:, 0].float()))
    decoder.read(hidden, mask, passages.context, first=site.layer, stop=site.layer + 1, hooks=[hook])
    return captured[0][passages.groups()[:, : passages.contexts]]
