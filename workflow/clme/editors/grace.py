"""GRACE: a codebook in place of one module's output."""

from dataclasses import replace

from pydantic import Field
from torch import Tensor

from clme.editors.base import Need
from clme.editors.codebooks import CodebookConfig, CodebookEditor
from clme.edits import Codebook
from clme.models.decoder import Site


class GraceConfig(CodebookConfig):
    """Hyperparameters of GRACE; the defaults are the paper's (Section III-F)."""

    decoding: bool = Field(False, description="compare the decoded tokens' keys too (released code)")


class Grace(CodebookEditor):
    """General Retrieval Adapters for Continual Editing (Hartvigsen et al., 2023).

    One entry per edit: the key is the module's input at the prompt's last token, the value replaces the
    module's output there, and is trained from a cold start (uniform in 0..1) by Adam on the mean
    cross-entropy of the target's tokens, without early stopping.
    """

    name = "grace"
    Config = GraceConfig
    released = {"decoding": True}  # noqa: RUF012

    def needs(self) -> tuple[Need, ...]:
        """See the base class; what is said depends on the key where decoded tokens are compared with it."""
        return tuple(need for need in super().needs() if need.kind != "fired" or not self.config.decoding)

    def codebook(self, site: Site, prompt: Tensor, value: Tensor) -> Codebook:
        """See the base class."""
        return replace(super().codebook(site, prompt, value), decoding=self.config.decoding)
