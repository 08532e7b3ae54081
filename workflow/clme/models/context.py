"""What the rows of a batch have read so far: the keys and values of each layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

_FEW = 8
"""So many new tokens of a row, the beams of a text at most, come one step after the other."""
_ROOM = 64
"""For so many of them there is room before all is moved to a larger place."""


class _Room:
    """Keys and values of one layer, with room behind them for tokens that come a few at a time.

    Args:
        keys: [rows, heads, slots, head_dim], and `values` alike.
        room: for so many more tokens.
    """

    def __init__(self, keys: Tensor, values: Tensor, room: int = _ROOM) -> None:
        self._used = keys.shape[2]
        self._held = [_with_room(one, room) for one in (keys, values)]

    def fits(self, slots: int, new: int) -> bool:
        """Whether so many tokens can follow these slots, behind which nothing else was written."""
        writable = torch.is_inference_mode_enabled() or not self._held[0].is_inference()
        return writable and slots == self._used and slots + new <= self._held[0].shape[2]

    def append(self, keys: Tensor, values: Tensor) -> "Past":
        """Write new tokens behind the others; what was returned before stays as it is."""
        start, self._used = self._used, self._used + keys.shape[2]
        for held, new in zip(self._held, (keys, values), strict=True):
            held[:, :, start : self._used] = new
        return self.past()

    def keep(self, start: int, slots: Tensor) -> "Past":
        """Move the slots `start` + `slots` [rows, kept] together, behind `start`, over those between them.

        What was returned before is void.
        """
        end = start + slots.shape[1]
        for held in self._held:
            index = slots.to(held.device)[:, None, :, None]
            held[:, :, start:end] = held[:, :, start : self._used].take_along_dim(index, dim=2)
        self._used = end
        return self.past()

    def past(self) -> "Past":
        """Return what is held."""
        keys, values = (held[:, :, : self._used] for held in self._held)
        return Past(keys, values, self)


def _with_room(held: Tensor, room: int) -> Tensor:
    """Copy to a larger place; what is behind is not filled, since nothing is read before it is written."""
    rows, heads, slots, width = held.shape
    larger = held.new_empty(rows, heads, slots + room, width)
    larger[:, :, :slots] = held
    return larger


class Past(NamedTuple):
    """Keys and values of one layer, each [rows, heads, slots, head_dim], and the room that they are in."""

    keys: Tensor
    values: Tensor
    room: _Room | None = None

    def rows(self, index: Tensor) -> "Past":
        """Select rows, or repeat them."""
        return Past(self.keys[index], self.values[index])

    def with_room(self, slots: int) -> "Past":
        """Return a copy behind which there is room for so many tokens."""
        return _Room(self.keys, self.values, slots).past()

    def keep(self, start: int, slots: Tensor) -> "Past":
        """Return the first `start` slots and, of those behind, `slots` [rows, kept]; these are void then."""
        room = self.room if self.room is not None else _Room(self.keys, self.values)
        return room.keep(start, slots)

    def followed(self, keys: Tensor, values: Tensor) -> "Past":
        """Return these and the new tokens', in place where that is worth it and loses nothing."""
        slots, new = self.keys.shape[2], keys.shape[2]
        if torch.is_grad_enabled() or new > _FEW:
            return Past(torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2))
        fits = self.room is not None and self.room.fits(slots, new)
        room = self.room if self.room is not None and fits else _Room(self.keys, self.values)
        return room.append(keys, values)


@dataclass(frozen=True)
class Context:
    """What the rows of a batch have read so far.

    Attributes:
        layers: for each layer its keys and values, each [rows, heads, slots, head_dim]; None for a
            layer that was not run.
        valid: [rows, slots], False where a slot holds padding or a token that was taken back.
    """

    layers: tuple[Past | None, ...]
    valid: Tensor

    def rows(self, index: Tensor) -> "Context":
        """Select rows, or repeat them, by a vector of row numbers."""
        layers = tuple(past and past.rows(index.to(past.keys.device)) for past in self.layers)
        return Context(layers, self.valid[index])

    def with_room(self, slots: int) -> "Context":
        """Return a copy behind which so many tokens can be written without moving anything."""
        return Context(tuple(past and past.with_room(slots) for past in self.layers), self.valid)

    def keep(self, start: int, slots: Tensor) -> "Context":
        """Forget slots behind the first `start`, but for those at `slots` [rows, kept], counted from there.

        It is done in place: this context is void then.
        """
        layers = tuple(past and past.keep(start, slots) for past in self.layers)
        kept = self.valid[:, start:].take_along_dim(slots, dim=1)
        return Context(layers, torch.cat([self.valid[:, :start], kept], dim=1))

    def without(self, taken_back: Tensor) -> "Context":
        """Take tokens back: [rows, slots], True where a token is to be forgotten."""
        return Context(self.layers, self.valid & ~taken_back)

    def joined(self, other: "Context") -> "Context":
        """Put the layers that only `other` holds beside this context's; both must have the same slots."""
        layers = tuple(mine or theirs for mine, theirs in zip(self.layers, other.layers, strict=True))
        return Context(layers, self.valid)

    @staticmethod
    def stacked(contexts: Sequence["Context"]) -> "Context":
        """Put rows of several contexts, which hold the same layers, one below the other."""
        slots = max(context.valid.shape[1] for context in contexts)

        def widened(tensors: Sequence[Tensor]) -> Tensor:
            return torch.cat([pad(one, (0, 0, 0, slots - one.shape[2])) for one in tensors])

        layers = []
        for together in zip(*(context.layers for context in contexts), strict=True):
            held = [one for one in together if one is not None]
            keys, values = ([getattr(one, name) for one in held] for name in ("keys", "values"))
            layers.append(Past(widened(keys), widened(values)) if held else None)
        valid = torch.cat([pad(one.valid, (0, slots - one.valid.shape[1])) for one in contexts])
        return Context(tuple(layers), valid)
