"""PMET: MEMIT with what attention and feed-forward network say told apart."""

from math import sqrt

from pydantic import Field

from clme.editors.spread import Spread, SpreadConfig
from clme.editors.vectors import Ease
from clme.models.decoder import Site


class PmetConfig(SpreadConfig):
    """Hyperparameters of PMET; see MEMIT's."""

    steps: int = Field(
        30, ge=1, description="times the loss is computed at most, an update less (v_num_grad_steps)"
    )
    attention_module: str = Field(
        "self_attn.o_proj", description="linear module whose output is optimised along, and not written"
    )


class Pmet(Spread):
    """Precise model editing in a transformer (Li et al., 2024).

    Two vectors are sought at the highest layer, one added to what the feed-forward network says and one to
    what attention says; only the former is written, by MEMIT's change of rank one. Each layer takes of what
    still lacks one part in the square root of the layers left. While the target is the arg-max in all
    contexts its likelihood counts a tenth, and the search stops once the divergence term is at most 0.01
    (both only in the sources' code).
    """

    name = "pmet"
    Config = PmetConfig
    ease = Ease(factor=0.1, kl=0.01)

    def searched(self) -> list[Site]:
        """Feed-forward network and attention of the highest layer."""
        highest = self.config.layers[-1]
        modules = self.config.module, self.config.attention_module
        return [Site(highest, module) for module in modules]

    def share(self, left: int) -> float:
        """More than an equal part for the lower layers."""
        return sqrt(left)
