"""An edit is a value: a list of deltas that can be saved, loaded and applied to any row of a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from clme.errors import UserError
from clme.keys import KeyEncoder
from clme.models.decoder import Hook, Site
from clme.representations import Pool, pool
from clme.tensors import read_tensor_metadata, read_tensors, write_tensors


@dataclass(frozen=True)
class LowRank:
    """Adds a matrix of low rank to a weight: y += (x B^T) A^T.

    Attributes:
        site: the linear module whose weight changes.
        left: A [d_out, rank].
        right: B [rank, d_in].
    """

    site: Site
    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class Dense:
    """Replaces a weight: y = x W^T + bias.

    Attributes:
        site: the linear module whose weight changes.
        weight: W [d_out, d_in]; the product is computed in its precision.
        bias: the module's own bias [d_out], if it has one, in the same precision.
    """

    site: Site
    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class Codebook:
    """Replaces a module's output where its input is near a key (GRACE, Hartvigsen et al., 2023, Section 2).

    The query is made of the module's inputs over the prompt's tokens; what is replaced is the output at
    the prompt's last token.

    Attributes:
        site: the linear module whose output is replaced.
        keys: [entries, d_key] in float32; d_key is the module's d_in where there is no encoder.
        values: [entries, d_out].
        radii: [entries]; an entry fires at Euclidean distances up to its radius, the nearest first.
        decoding: whether the tokens after the prompt are compared too, each on its own.
        pool: whether the query is the ``last`` token's input or the ``mean`` over the prompt's.
        encoder: maps that to what is compared with the keys; None for itself.
    """

    site: Site
    keys: Tensor
    values: Tensor
    radii: Tensor
    decoding: bool = False
    pool: Pool = "last"
    encoder: KeyEncoder | None = None

    def lookup(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Find the nearest entry of each query.

        Args:
            queries: [n, d_in] in float32, pooled.

        Returns:
            Whether the entry fires [n], and its value [n, d_out].
        """
        queries = queries if self.encoder is None else self.encoder(queries)
        distances = torch.linalg.vector_norm(queries[:, None] - self.keys[None], dim=2)
        nearest, entry = distances.min(dim=1)
        return nearest <= self.radii[entry], self.values[entry]


Delta = LowRank | Dense | Codebook
KINDS: dict[str, type[LowRank] | type[Dense] | type[Codebook]] = {
    "low_rank": LowRank,
    "dense": Dense,
    "codebook": Codebook,
}


@dataclass(frozen=True)
class Edit:
    """What an editor makes of one request; the empty edit leaves the model as it is.

    Attributes:
        deltas: applied in this order where several act on one module.
        steps: optimisation steps that were taken.
        loss: the last step's loss, if the editor has one.
    """

    deltas: tuple[Delta, ...] = ()
    steps: int = 0
    loss: float | None = None

    @property
    def acts_at_prompt_end_only(self) -> bool:
        """Whether a prompt at whose end nothing fires is continued as by the unedited model."""
        return all(isinstance(delta, Codebook) and not delta.decoding for delta in self.deltas)

    @property
    def first_layer(self) -> int | None:
        """The lowest layer that the edit acts in; None for the empty edit."""
        return min((delta.site.layer for delta in self.deltas), default=None)

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the edit's tensors by name, and what else it consists of as JSON has it."""
        tensors: dict[str, Tensor] = {}
        deltas = []
        for number, delta in enumerate(self.deltas):
            kind = next(name for name, cls in KINDS.items() if isinstance(delta, cls))
            described: dict[str, Any] = {"kind": kind}
            for name, part in vars(delta).items():
                if isinstance(part, Tensor):
                    tensors[f"{number}.{name}"] = part
                elif isinstance(part, KeyEncoder):
                    tensors |= {f"{number}.{name}.{key}": one for key, one in part.tensors.items()}
                    described[name] = {"slope": part.slope}
                else:
                    described[name] = part
            deltas.append(described)
        return tensors, {"deltas": deltas, "steps": self.steps, "loss": self.loss}

    @classmethod
    def unpacked(cls, tensors: dict[str, Tensor], header: dict[str, Any]) -> "Edit":
        """Return the edit that `packed` took apart.

        Raises:
            KeyError, TypeError: something is missing, or it is no edit.
        """
        deltas = []
        for number, described in enumerate(header["deltas"]):
            rest = dict(described)
            kind = KINDS[rest.pop("kind")]
            site = Site(*rest.pop("site"))
            if rest.get("encoder") is not None:
                parts = below(tensors, f"{number}.encoder.")
                rest["encoder"] = KeyEncoder(**parts, **rest["encoder"])
            own = {name: part for name, part in below(tensors, f"{number}.").items() if "." not in name}
            deltas.append(kind(site=site, **own, **rest))
        return cls(tuple(deltas), header["steps"], header["loss"])

    def save(self, path: Path) -> None:
        """Write the edit as one safetensors file.

        Raises:
            UserError: the path can't be written.
        """
        tensors, header = self.packed()
        write_tensors(path, tensors, {"edit": header})

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Edit":
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing or holds no edit.
        """
        try:
            return cls.unpacked(read_tensors(path, device), read_tensor_metadata(path)["edit"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: holds no edit that can be read ({error!r})") from error


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): part for name, part in tensors.items() if name.startswith(prefix)}


class Fired:
    """Collects on which rows of a batch some codebook has fired."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.rows = torch.zeros(rows, dtype=torch.bool, device=device)


def edit_hooks(
    edits: Sequence[Edit], *, prompt_end: Tensor | None, fired: Fired | None = None
) -> list[tuple[Site, Hook]]:
    """Return the hooks that put row b of a batch under edit b.

    Args:
        edits: one for each row; rows of the same request share one object.
        prompt_end: [rows], where each row's prompt ends, all of its tokens being read from position 0
            on; None when the tokens being read come after the prompt.
        fired: notes the rows on which a codebook fires.
    """
    hooks: list[tuple[Site, Hook]] = []
    for column in zip_longest(*(edit.deltas for edit in edits)):
        for site, kind in dict.fromkeys((delta.site, type(delta)) for delta in column if delta is not None):
            rows = [row for row, d in enumerate(column) if isinstance(d, kind) and d.site == site]
            deltas: list[Any] = [column[row] for row in rows]
            if kind is LowRank:
                hooks.append((site, _low_rank_hook(rows, deltas)))
            elif kind is Dense:
                hooks += [
                    (site, _dense_hook(same_rows, delta)) for delta, same_rows in _by_identity(rows, deltas)
                ]
            elif prompt_end is not None:
                hooks.append((site, _prompt_end_hook(rows, deltas, prompt_end, fired)))
            else:
                pairs = zip(rows, deltas, strict=True)
                hooks += [(site, _decoding_hook(row, delta)) for row, delta in pairs if delta.decoding]
    return hooks


def _by_identity(rows: list[int], deltas: list[Any]) -> Iterator[tuple[Any, list[int]]]:
    """Group rows by the delta object that they share."""
    for delta in {id(delta): delta for delta in deltas}.values():
        yield delta, [row for row, other in zip(rows, deltas, strict=True) if other is delta]


def _low_rank_hook(rows: list[int], deltas: list[LowRank]) -> Hook:
    """Y[b] += (X[b] B_b^T) A_b^T for all rows at once; smaller ranks are filled up with zeros."""
    left = torch.nn.utils.rnn.pad_sequence([delta.left.T for delta in deltas], batch_first=True)
    right = torch.nn.utils.rnn.pad_sequence([delta.right for delta in deltas], batch_first=True)

    def hook(x: Tensor, y: Tensor) -> Tensor:
        index = torch.tensor(rows, device=x.device)
        added = torch.bmm(torch.bmm(x[index].to(right.dtype), right.mT), left)
        return y.index_add(0, index, added.to(y.dtype))

    return hook


def _dense_hook(rows: list[int], delta: Dense) -> Hook:
    def hook(x: Tensor, y: Tensor) -> Tensor:
        index = torch.tensor(rows, device=x.device)
        changed = linear(x[index].to(delta.weight.dtype), delta.weight, delta.bias)
        return y.index_copy(0, index, changed.to(y.dtype))

    return hook


def _prompt_end_hook(
    rows: list[int], deltas: list[Codebook], prompt_end: Tensor, fired: Fired | None
) -> Hook:
    def hook(x: Tensor, y: Tensor) -> Tensor:
        replaced = y.clone()
        for delta, same_rows in _by_identity(rows, deltas):
            index = torch.tensor(same_rows, device=x.device)
            ends = prompt_end[index]
            fires, values = delta.lookup(pool(x[index], ends, delta.pool))
            replaced[index[fires], ends[fires]] = values[fires].to(y.dtype)
            if fired is not None:
                fired.rows[index] |= fires
        return replaced

    return hook


def _decoding_hook(row: int, delta: Codebook) -> Hook:
    def hook(x: Tensor, y: Tensor) -> Tensor:
        fires, values = delta.lookup(x[row].float())
        replaced = y.clone()
        replaced[row, fires] = values[fires].to(y.dtype)
        return replaced

    return hook
