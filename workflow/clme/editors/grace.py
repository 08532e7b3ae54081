"""GRACE: a codebook in place of one module's output."""

import torch
from torch import Tensor

from clme.editors.codebooks import CodebookEditor
from clme.edits import Codebook
from clme.models.decoder import Decoder, Site
from clme.representations import Pooled


class Grace(CodebookEditor):
    """General Retrieval Adapters for Continual Editing (Hartvigsen et al., 2023).

    One entry per edit: the key is the module's input at the prompt's last token, the value replaces the
    module's output there, and is trained from a cold start (uniform in 0..1) by Adam on the mean
    cross-entropy of the target's tokens, without early stopping.
    """

    name = "grace"
    released = {"decoding": True}  # noqa: RUF012

    def codebook(self, decoder: Decoder, site: Site, prompts: Pooled, values: Tensor) -> list[Codebook]:
        """See the base class."""
        radius = torch.tensor([self.config.radius], device=decoder.device)
        return [
            Codebook(site, key[None].clone(), value[None].clone(), radius, self.config.decoding)
            for key, value in zip(prompts.last.to(decoder.dtype), values, strict=True)
        ]
