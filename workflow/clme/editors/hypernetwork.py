"""MALMEN's hypernetwork: from keys and gradients to the shift of a weight (Tan et al., 2024).

All linear modules that are edited have one shape, so one network serves them; what tells the layers
apart are the scales, shifts, learning rates and dampings that each has of its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clme.edits import Edit, LowRank
from clme.models.decoder import Site


class Normaliser(nn.Module):
    """Running mean and standard deviation of the network's inputs; learns while the network trains.

    Args:
        size: numbers in an input.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("squares", torch.zeros(size))

    def update(self, rows: Tensor) -> None:
        """Take in more inputs [n, size], in the order of calls.

        As in the released code, a batch adds n times its unbiased variance, not n - 1 times.
        """
        more = len(rows)
        count = self.count + more
        apart = rows.mean(dim=0) - self.mean
        # The unbiased variance of a single row is not a number, where the released code breaks down.
        spread = rows.var(dim=0) if more > 1 else torch.zeros_like(self.mean)
        self.squares += more * spread + self.count * more * apart**2 / count
        self.mean += more * apart / count
        self.count.copy_(count)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the inputs [n, size] with a mean of zero and a standard deviation of one."""
        tiny = torch.finfo(rows.dtype).eps
        return (rows - self.mean) / ((self.squares / (self.count - 1 + tiny)).sqrt() + tiny)


class Block(nn.Module):
    """A residual multilayer perceptron of low rank: y + scale * max(0, y A B + bias) + shift.

    Args:
        size: numbers in an input.
        width: numbers in between.
        layers: how many layers have a scale and a shift of their own.
        random: for A; the block starts as the identity, since B is zero.
    """

    def __init__(self, size: int, width: int, layers: int, random: torch.Generator) -> None:
        super().__init__()
        self.inner = nn.Parameter(torch.randn(size, width, generator=random))
        self.outer = nn.Parameter(torch.zeros(width, size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.ones(layers, size))
        self.shift = nn.Parameter(torch.zeros(layers, size))

    def forward(self, rows: Tensor, layer: int) -> Tensor:
        """Return [n, size] for the inputs [n, size] of one layer, counted from 0 among the edited."""
        # Not `relu`: its gradient at zero is zero, and everything is zero there at the start.
        positive = (rows @ self.inner @ self.outer + self.bias).clamp(min=0)
        return rows + self.scale[layer] * positive + self.shift[layer]


class Hypernetwork(nn.Module):
    """Says by how much a module's outputs are to change at its keys.

    Args:
        key_size: d_in of the edited modules.
        value_size: d_out of the edited modules.
        layers: how many layers are edited.
        width: of the blocks.
        blocks: how many there are.
        rate: initial learning rate of an edit, for each layer.
        random: for the initial weights.
    """

    def __init__(
        self,
        key_size: int,
        value_size: int,
        layers: int,
        *,
        width: int,
        blocks: int,
        rate: float,
        random: torch.Generator,
    ) -> None:
        super().__init__()
        size = key_size + value_size
        self._sizes = [key_size, value_size]
        self.normaliser = Normaliser(size)
        self.blocks = nn.ModuleList([Block(size, width, layers, random) for _ in range(blocks)])
        self.rates = nn.Parameter(torch.full((layers,), rate))
        self.log_dampings = nn.Parameter(torch.zeros(layers))

    def differences(self, keys: Tensor, gradients: Tensor, layer: int) -> Tensor:
        """Return the value differences D [n, d_out]: -rate (k . k~) g~ for each key k.

        The network turns key k and gradient g into k~ and g~; a rank-one shift of -rate g~ k~^T would
        change the module's output at k by this much.

        Args:
            keys: [n, d_in], the module's inputs.
            gradients: [n, d_out], of the loss with respect to the module's outputs.
            layer: counted from 0 among the edited layers.
        """
        rows = self.normaliser(torch.cat([keys, gradients], dim=1))
        for block in self.blocks:
            rows = block(rows, layer)
        pseudo_keys, pseudo_gradients = rows.split(self._sizes, dim=1)
        return -self.rates[layer] * (keys * pseudo_keys).sum(dim=1, keepdim=True) * pseudo_gradients

    def factors(self, keys: Tensor, gradients: Tensor, layer: int) -> Tensor:
        """Return Z [n, d_out], so that the weight's shift is Z^T K for the keys K [n, d_in].

        The shift S minimises |S K^T - D^T|^2 + damping |S|^2. The normal equation
        S^T = (K^T K + damping)^-1 K^T D is solved in its dual form, S^T = K^T (K K^T + damping)^-1 D:
        the same for fewer unknowns, since there are fewer keys than inputs.
        """
        wanted = self.differences(keys, gradients, layer)
        wide = keys.double()
        damping = self.log_dampings[layer].double().exp()
        gram = wide @ wide.mT + damping * torch.eye(len(keys), dtype=wide.dtype, device=wide.device)
        # A singular matrix gives numbers that are not finite; callers look at them anyway.
        return torch.linalg.solve_ex(gram, wanted.double()).result.to(wanted.dtype)

    @torch.no_grad()
    def edit(self, sites: Sequence[Site], keys: Tensor, gradients: Tensor) -> Edit:
        """Return the edit that the keys and gradients of one request lead to.

        Args:
            sites: the edited modules.
            keys: [layers, n, d_in].
            gradients: [layers, n, d_out].

        Raises:
            ArithmeticError: the normal equation has no finite solution.
        """
        deltas = []
        for layer, site in enumerate(sites):
            factors = self.factors(keys[layer], gradients[layer], layer)
            if not factors.isfinite().all():
                raise ArithmeticError(f"the normal equation of layer {site.layer} has no finite solution")
            deltas.append(LowRank(site, factors.T.contiguous(), keys[layer].clone()))
        return Edit(tuple(deltas))
