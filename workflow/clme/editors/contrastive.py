"""Contrastive training of A-GRACE's encoder (paper, Section IV-C, Equation 4)."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import linear, pairwise_distance

from clme.editors.base import State
from clme.editors.codebooks import CodebookConfig
from clme.errors import UserError
from clme.keys import KeyEncoder
from clme.progress import Progress
from clme.randomness import generator
from clme.stopping import Turns
from clme.tensors import read_tensor_metadata, read_tensors, write_tensors

_ROWS = 4096
SECONDS_BETWEEN_CHECKPOINTS = 30.0

Variant = Literal["paper", "released", "clean"]


class EncoderConfig(CodebookConfig):
    """Hyperparameters of a codebook with a trained encoder; the defaults are the paper's (Section IV-C).

    Where the paper is silent (dropout, the optimiser, initialisation, what "best" is), the released
    code's choices stand.
    """

    variant: Variant = Field("paper", description="whose training: sets the fields below that aren't given")
    margin: float = Field(1.3, gt=0, description="distance that negative pairs are pushed to")
    width: int = Field(256, ge=1, description="numbers of a key")
    shrink: int = Field(4, ge=1, description="the hidden layer is the input's width divided by this")
    slope: float = Field(0.0, ge=0, description="activation's slope for negative numbers (0 is ReLU)")
    bias: bool = Field(False, description="whether the layers have biases")
    dropout: float = Field(0.5, ge=0, lt=1, description="of the hidden layer in training (released code)")
    batch_pairs: int = Field(64, ge=1, description="pairs in a training step")
    encoder_learning_rate: float = Field(1e-4, gt=0, description="Adam's, for the encoder")
    weight_decay: float = Field(1e-4, ge=0, description="Adam's L2 penalty, for the encoder")
    epochs: int = Field(100, ge=1, description="passes over the training pairs at most")
    patience: int = Field(10, ge=1, description="epochs without a better encoder before the end")
    selection: Literal["test", "held_out"] = Field(
        "test", description="best by the fold's own cases (a leak), or by held-out training cases"
    )
    held_out: float = Field(0.1, gt=0, lt=1, description="part of the training cases that is held out")


VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "released": {"margin": 1.0, "slope": 0.5, "bias": True, "patience": 5},
    "clean": {"selection": "held_out"},
}

# The variant has set the others; the radius is the distance by which accuracy is judged.
TRAINING = EncoderConfig.model_fields.keys() - {"variant", "steps", "learning_rate"}


@dataclass(frozen=True)
class Pairs:
    """Representations of cases, from which the pairs are formed.

    Attributes:
        rows: [rows, d_in], each case's prompt, rephrase and neighbours.
        index: [pairs, 2], two rows of a pair, the prompt first.
        same: [pairs], 1 for a prompt and its rephrase, 0 for a prompt and a neighbour of it.
    """

    rows: Tensor
    index: Tensor
    same: Tensor

    @classmethod
    def of(cls, cases: Sequence[Tensor]) -> "Pairs":
        """Form the pairs of cases, each given by its representations [2 + neighbours, d_in]."""
        index, same, start = [], [], 0
        for case in cases:
            index += [(start, start + other) for other in range(1, len(case))]
            same += [1.0, *[0.0] * (len(case) - 2)]
            start += len(case)
        return cls(torch.cat(list(cases)), torch.tensor(index), torch.tensor(same))


def loss(first: Tensor, second: Tensor, same: Tensor, margin: float) -> Tensor:
    """Equation 4: the mean over pairs of y d^2 + (1 - y) max(margin - d, 0)^2.

    Args:
        first: [pairs, d_key].
        second: [pairs, d_key].
        same: y [pairs], 1 for positive and 0 for negative pairs.
        margin: distance up to which negative pairs are pushed apart.
    """
    distance = pairwise_distance(first, second)
    return (same * distance**2 + (1 - same) * (margin - distance).clamp(min=0) ** 2).mean()


@torch.no_grad()
def evaluate(encoder: KeyEncoder, pairs: Pairs, radius: float, margin: float) -> dict[str, float]:
    """Return how well a radius tells rephrases from neighbours by an encoder's keys.

    Returns:
        ``rephrases``, the part of them within the radius of their prompt; ``neighbours``, the part of them
        outside of it; ``accuracy``, the mean of both; ``validation``, the loss.
    """
    device = encoder.first.device
    keys = torch.cat([encoder(rows.to(device)) for rows in pairs.rows.split(_ROWS)])
    first, second = keys[pairs.index.T.to(device)]
    same = pairs.same.to(device)
    near = (pairwise_distance(first, second) <= radius).float()
    rephrases, neighbours = float(near[same == 1].mean()), 1 - float(near[same == 0].mean())
    return {
        "rephrases": rephrases,
        "neighbours": neighbours,
        "accuracy": (rephrases + neighbours) / 2,
        "validation": float(loss(first, second, same, margin)),
    }


def split(case_ids: Sequence[str], part: float, seed: int) -> tuple[list[str], list[str]]:
    """Split training cases by chance into those to learn from and those to choose an epoch by.

    Args:
        case_ids: at least two.
        part: of them to choose by; at least one of each kind there will be.
        seed: the study's seed.
    """
    order = generator(seed, "a_grace held out").permutation(len(case_ids))
    count = min(max(round(part * len(case_ids)), 1), len(case_ids) - 1)
    held_out = {case_ids[number] for number in order[:count]}
    return [one for one in case_ids if one not in held_out], [one for one in case_ids if one in held_out]


class EncoderTraining:
    """Trains an encoder epoch by epoch, with a checkpoint now and then.

    Random numbers belong to the seed and the epoch, so that a resumed training is the same.

    Args:
        config: hyperparameters.
        seed: the study's seed.
        training: pairs to learn from.
        validation: pairs to choose the best epoch by.
        device: where to train.
        folder: for the checkpoint.
    """

    def __init__(
        self,
        config: EncoderConfig,
        seed: int,
        training: Pairs,
        validation: Pairs,
        device: torch.device,
        folder: Path,
    ) -> None:
        self._config, self._seed, self._device = config, seed, device
        self._training, self._validation = training, validation
        self._checkpoint = folder / "encoder.safetensors"
        self._encoder = self._fresh()
        self._best = self._encoder
        self._curve: list[dict[str, float]] = []
        self._optimizer = torch.optim.Adam(
            [weight.requires_grad_(True) for weight in self._encoder.tensors.values()],
            lr=config.encoder_learning_rate,
            weight_decay=config.weight_decay,
        )
        self._saved = time.monotonic()
        if self._checkpoint.exists():
            self._resume()

    def run(self, label: str) -> State:
        """Train until the epochs or the patience end; return the best encoder and the curve.

        Raises:
            UserError: the loss is no longer a number.
            Stopped: a signal arrived, or the job's time ends; the folder holds a checkpoint.
        """
        turns = Turns()
        with Progress(label, self._config.epochs, "epoch", len(self._curve)) as progress:
            while len(self._curve) < self._config.epochs and self._since_best < self._config.patience:
                turns.next(progress.standing, self._save)
                self._epoch(len(self._curve))
                progress.advance()
        return State(self._best.tensors, tuple(self._curve))

    @property
    def _since_best(self) -> int:
        accuracies = [record["accuracy"] for record in self._curve]
        return len(accuracies) - 1 - int(np.argmax(accuracies)) if accuracies else 0

    def _epoch(self, number: int) -> None:
        random = generator(self._seed, "a_grace encoder", f"epoch {number}")
        pairs = self._training
        losses = []
        order = torch.from_numpy(random.permutation(len(pairs.index)))
        for chosen in order.split(self._config.batch_pairs):
            same = pairs.same[chosen].to(self._device)
            rows = pairs.rows[pairs.index[chosen].T].to(self._device)
            first, second = (self._with_dropout(one, random) for one in rows)
            batch_loss = loss(first, second, same, self._config.margin)
            self._optimizer.zero_grad()
            batch_loss.backward()
            self._optimizer.step()
            losses.append(float(batch_loss.detach()) * len(chosen))
        mean = sum(losses) / len(order)
        if not math.isfinite(mean):
            raise UserError(
                f"the encoder's loss became {mean} in epoch {number + 1}; lower `encoder_learning_rate`"
            )
        config = self._config
        found = evaluate(self._encoder, self._validation, config.radius, config.margin)
        self._curve.append({"epoch": number + 1, "loss": mean, **found})
        if self._since_best == 0:
            self._best = KeyEncoder(
                **{name: weight.detach().clone() for name, weight in self._encoder.tensors.items()},
                slope=self._encoder.slope,
            )
        if time.monotonic() - self._saved >= SECONDS_BETWEEN_CHECKPOINTS:
            self._save()
            self._saved = time.monotonic()

    def _with_dropout(self, queries: Tensor, random: np.random.Generator) -> Tensor:
        encoder, rate = self._encoder, self._config.dropout
        hidden = encoder.hidden(queries)
        kept = torch.from_numpy(random.random(tuple(hidden.shape), dtype=np.float32) >= rate)
        dropped = hidden * kept.to(self._device) / (1 - rate)
        return linear(dropped, encoder.second, encoder.second_bias)

    def _fresh(self) -> KeyEncoder:
        """Draw weights and biases uniformly within 1 / sqrt(d_in) of each layer, as torch does."""
        config, d_in = self._config, self._training.rows.shape[1]
        hidden = max(d_in // config.shrink, 1)
        random = generator(self._seed, "a_grace encoder")

        def drawn(*shape: int, fan_in: int) -> Tensor:
            bound = 1 / math.sqrt(fan_in)
            return torch.from_numpy(random.uniform(-bound, bound, shape)).float().to(self._device)

        first, second = drawn(hidden, d_in, fan_in=d_in), drawn(config.width, hidden, fan_in=hidden)
        if not config.bias:
            return KeyEncoder(first, second, slope=config.slope)
        biases = drawn(hidden, fan_in=d_in), drawn(config.width, fan_in=hidden)
        return KeyEncoder(first, second, *biases, slope=config.slope)

    def _save(self) -> None:
        if not self._curve:
            return
        tensors = {f"best.{name}": weight for name, weight in self._best.tensors.items()}
        for name, weight in self._encoder.tensors.items():
            tensors[f"now.{name}"] = weight
            for moment, value in self._optimizer.state[weight].items():
                tensors[f"{moment}.{name}"] = value
        write_tensors(self._checkpoint, tensors, {"curve": self._curve})

    def _resume(self) -> None:
        tensors = read_tensors(self._checkpoint)
        self._curve = read_tensor_metadata(self._checkpoint)["curve"]
        best = {name: tensors[f"best.{name}"].to(self._device) for name in self._encoder.tensors}
        self._best = KeyEncoder(**best, slope=self._encoder.slope)
        with torch.no_grad():
            for name, weight in self._encoder.tensors.items():
                weight.copy_(tensors[f"now.{name}"])
                self._optimizer.state[weight] = {
                    moment: tensors[f"{moment}.{name}"].to(weight.device if moment != "step" else "cpu")
                    for moment in ("step", "exp_avg", "exp_avg_sq")
                }
