"""Second moments of a module's inputs: what ROME, MEMIT and PMET keep unchanged while they write.

C = E[k k^T], not centred, over the tokens of general texts (Meng et al., 2022, Equation 2; 2023, Equation
15).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from clme.editors.base import Need
from clme.errors import UserError
from clme.models.decoder import Decoder, Hook, Site
from clme.tensors import read_tensors

MORE_TEXT = "raise `moments.samples`"
_ROUNDING = 10.0


def need(layers: Sequence[int], module: str) -> Need:
    """Return the need for the second moments of a module's inputs in some layers."""
    return Need("moments", {"layers": list(layers), "module": module})


class Sums:
    """Running sums of k k^T at several sites, and the number of tokens that are in them.

    Args:
        sites: whose inputs are summed.
        dtype: of products and sums; the sources use float32.
    """

    def __init__(self, sites: Sequence[Site], dtype: torch.dtype) -> None:
        self.sites, self.dtype = list(sites), dtype
        self._sums: dict[Site, Tensor] = {}
        self.tokens = 0

    def hooks(self, mask: Tensor) -> list[tuple[Site, Hook]]:
        """Return the hooks that add a batch's tokens, those where `mask` [rows, tokens] is set."""
        self.tokens += int(mask.sum())
        return [(site, self._hook(site, mask)) for site in self.sites]

    def _hook(self, site: Site, mask: Tensor) -> Hook:
        def hook(x: Tensor, _: Tensor) -> None:
            keys = x[mask].to(self.dtype)
            if site not in self._sums:
                self._sums[site] = torch.zeros(x.shape[2], x.shape[2], dtype=self.dtype, device=x.device)
            self._sums[site].addmm_(keys.T, keys)

        return hook

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, to be stored: for each site the sum [d_in, d_in], and the number of tokens."""
        sums = {f"{site}.sum": self._sums[site] for site in self.sites}
        return {**sums, "tokens": torch.tensor(self.tokens)}

    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        self._sums = {site: stored[f"{site}.sum"] for site in self.sites}
        self.tokens = int(stored["tokens"])


class Moments:
    """Second moments, factored: solves C x = k in float64.

    Args:
        factors: lower Cholesky factors [d_in, d_in] of C by site, float64.
    """

    def __init__(self, factors: Mapping[Site, Tensor]) -> None:
        self._factors = dict(factors)

    @classmethod
    def load(cls, path: Path, decoder: Decoder, sites: Sequence[Site]) -> Self:
        """Read the sums of some sites and factor them.

        Raises:
            UserError: the file is missing or damaged, lacks a site, is of a model with other widths, or a
                matrix is singular, or so nearly that its small eigenvalues are rounding errors.
        """
        stored = read_tensors(path)
        if "tokens" not in stored:
            raise UserError(f"{path}: holds no second moments; make it anew by `clme prepare moments`")
        factors = {}
        for site in sites:
            total = stored.get(f"{site}.sum")
            if total is None:
                held = ", ".join(sorted(name.removesuffix(".sum") for name in stored.keys() - {"tokens"}))
                raise UserError(f"{path}: has no second moments of {site}, but of {held}; make it anew")
            width = decoder.linear(site).in_features
            if total.shape != (width, width):
                raise UserError(
                    f"{path}: second moments of {site} are of {len(total)} inputs, the model has {width};"
                    " they are another model's"
                )
            where = f"{path}: {site}"
            factors[site] = factored(total.to(decoder.device), int(stored["tokens"]), where)
        return cls(factors)

    def solve(self, site: Site, keys: Tensor) -> Tensor:
        """Return C^-1 k for each column of `keys` [d_in, n], in float64."""
        return torch.cholesky_solve(keys.double(), self._factors[site])


def factored(total: Tensor, tokens: int, where: str) -> Tensor:
    """Return the lower Cholesky factor, in float64, of a sum of k k^T over a number of tokens.

    Args:
        total: [d_in, d_in]; its precision is that of the sum.
        tokens: in the sum.
        where: named in errors.

    Raises:
        UserError: the matrix is singular or nearly so: what one input adds to those before it is, in
            proportion to its own variance, not above the rounding of the sum.
    """
    width = len(total)
    if tokens < width:
        raise UserError(
            f"{where}: second moments of {width} inputs over {tokens} tokens are singular; {MORE_TEXT}"
        )
    moments = total.double() / tokens
    factor, failed = torch.linalg.cholesky_ex(moments)
    added = factor.diagonal() ** 2 / moments.diagonal()
    if int(failed) or not added.min() > _ROUNDING * torch.finfo(total.dtype).eps:
        raise UserError(
            f"{where}: the second moments are singular, or nearly so; {MORE_TEXT}, or choose"
            " `moments.precision: float64`"
        )
    return factor
