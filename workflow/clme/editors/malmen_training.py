"""Trains MALMEN's hypernetwork: edits batches of cases and learns from how the edits do (Tan et al., 2024).

The meta loss of a batch is the cross-entropy of the rephrases' targets under the batch's common edit plus
the divergence of the neighbours' continuations from the unedited model's. It is differentiated in two
passes, down through the model to the shifts of the weights and from there through the hypernetwork, so
that a batch can be read in parts and the model's memory is free again before the second pass.
"""

import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from clme.editors.base import State, TrainingCase
from clme.editors.hypernetwork import Hypernetwork
from clme.editors.malmen_activations import Activations, Reader, Store
from clme.editors.malmen_losses import UpperLayers
from clme.edits import Edit
from clme.errors import UserError
from clme.files import atomic
from clme.models.decoder import Decoder, Site
from clme.progress import Progress
from clme.randomness import generator
from clme.stopping import Turns

if TYPE_CHECKING:
    from clme.editors.malmen import MalmenConfig


class Training:
    """Trains a hypernetwork; goes on where an interrupted training stopped, to the same result.

    The last `validation_cases` of the cases are kept apart for the curve, which chooses nothing.

    Args:
        decoder: the unedited model.
        config: hyperparameters.
        sites: the edited modules, the lowest layer first.
        network: untrained; is trained in place.
        cases: to train on, and those that are kept apart.
        seed: the study's.
        folder: for checkpoints and activations.

    Raises:
        UserError: there are too few cases.
    """

    def __init__(
        self,
        decoder: Decoder,
        config: "MalmenConfig",
        sites: Sequence[Site],
        network: Hypernetwork,
        cases: Sequence[TrainingCase],
        seed: int,
        folder: Path,
    ) -> None:
        count = len(cases) - config.validation_cases
        if count < config.batch_size:
            raise UserError(
                f"malmen: there are {len(cases)} cases to train on, but a batch takes {config.batch_size} and"
                f" {config.validation_cases} are kept apart for validation; raise `training.cases`, take a"
                " larger dataset, or lower malmen's `batch_size` or `validation_cases`"
            )
        self._config, self._sites, self._network, self._cases = config, sites, network, cases
        self._plan = list(_batches(seed, count, config.batch_size, config.steps))
        self._apart = range(count, len(cases))
        wanted = dict.fromkeys([*self._apart, *(number for batch in self._plan for number in batch)])
        reader = Reader(decoder, sites, config.tokens, config.neighbours)
        self._activations = folder / "activations"
        self._store = Store(reader, cases, list(wanted), self._activations, decoder.device)
        self._upper = UpperLayers(decoder, sites)
        self._optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        self._checkpoint = folder / "checkpoint.pt"
        self._curve: list[dict[str, float]] = []
        self._losses: list[tuple[float, float]] = []  # of the steps since the curve's last record
        self._step = 0

    def run(self) -> State:
        """Train; return the network's tensors and the curve.

        Raises:
            UserError: a loss is not a number, or the folder can't be written.
            Stopped: a signal arrived, or the job's time ends; the folder holds a checkpoint.
        """
        self._resume()
        if not self._curve:
            self._curve.append({"step": 0.0, **self._measured([Edit()] * len(self._apart))})
        steps, interval = self._config.steps, self._config.validation_interval
        waiting = Counter(number for batch in self._plan[self._step :] for number in batch)
        turns = Turns()
        with Progress("malmen, training", steps, "step", self._step) as progress:
            for batch in self._plan[self._step :]:
                turns.next(progress.standing, self._save)
                self._losses.append(self._learn(batch))
                self._step += 1
                waiting.subtract(batch)
                self._store.drop([number for number in batch if not waiting[number]])
                if self._step % interval == 0 or self._step == steps:
                    self._record()
                    self._save()
                progress.advance()
        shutil.rmtree(self._activations, ignore_errors=True)
        return State(self._network.state_dict(), tuple(self._curve))

    def _learn(self, batch: Sequence[int]) -> tuple[float, float]:
        """Take one step; return the two parts of the meta loss."""
        cases = [self._store.get(number) for number in batch]
        keys, gradients = _joined(cases)
        pairs = list(zip(keys, gradients, strict=True))
        for pair in pairs:
            self._network.normaliser.update(torch.cat(pair, dim=1))
        factors = [self._network.factors(*pair, layer) for layer, pair in enumerate(pairs)]
        # The first pass ends at these copies, the second begins at what they are copies of.
        leaves = [factor.detach().requires_grad_(True) for factor in factors]
        losses = self._upper.meta_losses(cases, keys, leaves, self._config.locality)
        self._optimizer.zero_grad()
        torch.autograd.backward(factors, [leaf.grad for leaf in leaves])
        norm = float(clip_grad_norm_(self._network.parameters(), self._config.max_gradient_norm))
        if not all(map(math.isfinite, (*losses, norm))):
            names = ", ".join(self._cases[number].case_id for number in batch)
            raise UserError(
                f"malmen: in training step {self._step + 1} (cases {names}) the losses are {losses[0]} and"
                f" {losses[1]}, the gradient's norm {norm}; lower malmen's `learning_rate` or `edit_rate`"
            )
        self._optimizer.step()
        return losses

    def _record(self) -> None:
        """Add a record to the curve: the mean training losses since the last one, and the validation."""
        cases = [self._store.get(number) for number in self._apart]
        edits = [self._network.edit(self._sites, case.keys, case.gradients) for case in cases]
        count = len(self._losses)
        generalization, locality = (sum(values) / count for values in zip(*self._losses, strict=True))
        self._losses = []
        self._curve.append(
            {
                "step": float(self._step),
                "training_generalization_loss": generalization,
                "training_locality_loss": locality,
                **self._measured(edits),
            }
        )

    def _measured(self, edits: Sequence[Edit]) -> dict[str, float]:
        """Measure edits of the cases that are kept apart, each made alone as in the study."""
        return self._upper.measure([self._store.get(number) for number in self._apart], edits)

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            return
        kept = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        self._network.load_state_dict(kept["network"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self._step, self._curve = kept["step"], kept["curve"]
        self._losses = kept["losses"]

    def _save(self) -> None:
        kept = {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "curve": self._curve,
            "losses": self._losses,
        }
        with atomic(self._checkpoint) as temporary:
            torch.save(kept, temporary)


def _batches(seed: int, count: int, size: int, steps: int) -> Iterator[list[int]]:
    """Yield each step's cases by number: every epoch in a new order, the remainder left out."""
    order: list[int] = []
    for step in range(steps):
        epoch, place = divmod(step, count // size)
        if place == 0:
            order = generator(seed, "malmen", "epoch", str(epoch)).permutation(count).tolist()
        yield order[place * size : (place + 1) * size]


def _joined(cases: Sequence[Activations]) -> tuple[Tensor, Tensor]:
    """Put keys and gradients of a batch together; the loss becomes the mean over the tokens of all."""
    total = sum(case.keys.shape[1] for case in cases)
    gradients = [case.gradients * (case.keys.shape[1] / total) for case in cases]
    return torch.cat([case.keys for case in cases], dim=1), torch.cat(gradients, dim=1)
