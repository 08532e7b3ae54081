"""A learned map from representations to keys, which a codebook compares by Euclidean distance."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, linear


@dataclass(frozen=True)
class KeyEncoder:
    """Two linear layers: q* = W2 sigma(W1 q) (A-GRACE; paper, Section IV-C).

    Attributes:
        first: W1 [hidden, d_in].
        second: W2 [d_key, hidden].
        first_bias: [hidden], if there are biases.
        second_bias: [d_key], if there are biases.
        slope: of sigma for negative numbers; 0 is ReLU.
    """

    first: Tensor
    second: Tensor
    first_bias: Tensor | None = None
    second_bias: Tensor | None = None
    slope: float = 0.0

    def __call__(self, queries: Tensor) -> Tensor:
        """Map representations [n, d_in] to keys [n, d_key], both in float32."""
        return linear(self.hidden(queries), self.second, self.second_bias)

    def hidden(self, queries: Tensor) -> Tensor:
        """Return what the first layer makes of representations: [n, hidden]."""
        return leaky_relu(linear(queries, self.first, self.first_bias), self.slope)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its weights by name, for a file."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def to(self, device: torch.device) -> "KeyEncoder":
        """Return it on a device."""
        return KeyEncoder(**{name: part.to(device) for name, part in self.tensors.items()}, slope=self.slope)
