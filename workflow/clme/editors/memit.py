"""MEMIT: what a layer is to say is written into the matrices of several layers up to it."""

from clme.editors.spread import Spread
from clme.models.decoder import Site


class Memit(Spread):
    """Mass-editing memory in a transformer (Meng et al., 2023); one request at a time, as in the study.

    A vector is sought that, added to the hidden state of the highest layer at the prompt's last token, makes
    the target likely (Equation 16). It is written into all layers: each takes an equal part of what still
    lacks (Equation 20) by a change of rank one (Equation 14).
    """

    name = "memit"

    def searched(self) -> list[Site]:
        """The highest layer's hidden state."""
        return [Site(self.config.layers[-1], "")]

    def share(self, left: int) -> float:
        """An equal part for each layer left."""
        return left
