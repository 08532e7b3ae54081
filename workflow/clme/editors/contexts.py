"""Texts before a prompt, under which an edit is to hold as well (Meng et al., 2022, Section 3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from clme.editors.base import Need
from clme.errors import UserError
from clme.tensors import read_tensors

STARTS = ("The", "Therefore", "Because", "I", "You")
TOKENS = 10
TOP_K = 5
"""The released code's: a text begins with one of the starts and has ten tokens, start included, each drawn
from the five likeliest; a full stop ends it."""


def need(seed: int) -> Need:
    """Return the need for a model's contexts."""
    return Need("contexts", {"seed": seed})


@dataclass(frozen=True)
class Contexts:
    """A model's contexts: token ids that stand before a prompt.

    Attributes:
        prefixes: the first is empty, the others (one or more) are sampled texts.
    """

    prefixes: tuple[tuple[int, ...], ...]

    def tensors(self) -> dict[str, Tensor]:
        """Return the contexts as tensors to be stored."""
        return {
            "ids": torch.tensor([token for prefix in self.prefixes for token in prefix]),
            "lengths": torch.tensor([len(prefix) for prefix in self.prefixes]),
        }

    @classmethod
    def load(cls, path: Path, sampled: int) -> Self:
        """Read what `tensors` gave.

        Args:
            path: made by `clme prepare contexts`.
            sampled: how many of the sampled texts are wanted, the first ones.

        Raises:
            UserError: the file is missing, damaged, or holds too few contexts.
        """
        stored: Mapping[str, Tensor] = read_tensors(path)
        if stored.keys() != {"ids", "lengths"} or len(stored["lengths"]) <= sampled:
            raise UserError(f"{path}: holds too few contexts; make it anew by `clme prepare contexts`")
        parts = stored["ids"].split(stored["lengths"].tolist())
        return cls(tuple(tuple(part.tolist()) for part in parts[: 1 + sampled]))
