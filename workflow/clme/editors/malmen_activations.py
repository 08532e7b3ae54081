"""What MALMEN takes from the unedited model: keys and gradients, and all that its training can keep.

Below the first edited layer nothing depends on the hypernetwork, and neither do the keys, the gradients
and the unedited continuations of the neighbours: they are computed once for each training case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from clme.editors.base import Request, TrainingCase
from clme.editors.losses import target_loss
from clme.errors import UserError
from clme.models.context import Context
from clme.models.decoder import Decoder, Hook, Site, padded
from clme.tensors import read_tensors, write_tensors

NEIGHBOUR_TOKENS = 16
"""Tokens of a neighbour's unedited continuation, as in the evaluation of specificity."""

READ_TOKENS = 4096
"""Tokens that are read together at most, padding included; one text always fits."""

GROUP = 8
"""Cases whose activations are computed together."""

Tokens = Literal["answer", "first"]


@dataclass(frozen=True)
class Pairs:
    """Keys and gradients of one request.

    Attributes:
        keys: [layers, n, d_in], the edited modules' inputs; n is the number of the target's tokens.
        gradients: [layers, n, d_out], of the target's mean cross-entropy, with respect to their outputs.
        hidden: [tokens, d], what enters the first edited layer.
        loss: the target's mean cross-entropy.
    """

    keys: Tensor
    gradients: Tensor
    hidden: Tensor
    loss: float

    @property
    def finite(self) -> bool:
        """Whether all are numbers."""
        return bool(self.keys.isfinite().all() and self.gradients.isfinite().all())


def keys_and_gradients(
    decoder: Decoder, sites: Sequence[Site], requests: Sequence[Request], tokens: Tokens
) -> list[Pairs]:
    """Read requests with their targets and differentiate each one's loss.

    Args:
        decoder: the unedited model.
        sites: the edited modules, the lowest layer first.
        requests: a batch.
        tokens: ``answer`` for the positions that predict the target, ``first`` for as many positions
            from the text's start on.
    """
    first = sites[0].layer
    ids, mask = padded([request.prompt + request.target[:-1] for request in requests], decoder.device)
    with torch.no_grad():
        hidden, _ = decoder.read(ids, mask, stop=first)
    inputs: list[Tensor] = []
    widths = [decoder.linear(site).out_features for site in sites]
    # Zeros are added to the outputs, to have something to differentiate by.
    added = [
        torch.zeros(*mask.shape, width, dtype=decoder.dtype, device=decoder.device, requires_grad=True)
        for width in widths
    ]

    def tapped(nothing: Tensor) -> Hook:
        def hook(x: Tensor, y: Tensor) -> Tensor:
            inputs.append(x.detach())
            return y + nothing

        return hook

    hooks = [(site, tapped(nothing)) for site, nothing in zip(sites, added, strict=True)]
    out, _ = decoder.read(hidden, mask, first=first, hooks=hooks)
    starts = [len(request.prompt) - 1 for request in requests]
    losses = target_loss(decoder, out, starts, [request.target for request in requests])
    outputs = torch.autograd.grad(losses.sum(), added)
    pairs = []
    for row, request in enumerate(requests):
        begin = 0 if tokens == "first" else starts[row]
        place = slice(begin, begin + len(request.target))
        pairs.append(
            Pairs(
                torch.stack([x[row, place] for x in inputs]).float(),
                torch.stack([gradient[row, place] for gradient in outputs]).float(),
                hidden[row, : starts[row] + len(request.target)],
                losses[row].item(),
            )
        )
    return pairs


@dataclass(frozen=True)
class Text:
    """A prompt and its continuation, read up to the first edited layer.

    Attributes:
        hidden: [tokens, d], what enters the first edited layer.
        start: the position that predicts the continuation's first token.
        target: the continuation's tokens.
        unedited: of a neighbour [target tokens, d]: what leaves the unedited model's last layer where
            the continuation is predicted.
    """

    hidden: Tensor
    start: int
    target: tuple[int, ...]
    unedited: Tensor | None = None


@dataclass(frozen=True)
class Activations:
    """What training needs of a case.

    Attributes:
        keys: [layers, n, d_in], see `Pairs`.
        gradients: [layers, n, d_out], see `Pairs`.
        request: the prompt and its target.
        rephrase: the rephrased prompt and the target.
        neighbours: prompts with their unedited continuations.
    """

    keys: Tensor
    gradients: Tensor
    request: Text
    rephrase: Text
    neighbours: tuple[Text, ...]

    def save(self, path: Path) -> None:
        """Write the activations as one safetensors file.

        Raises:
            UserError: the path can't be written.
        """
        texts = (self.request, self.rephrase, *self.neighbours)
        tensors = {
            "keys": self.keys,
            "gradients": self.gradients,
            "hidden": torch.cat([text.hidden for text in texts]),
            "unedited": torch.cat([text.unedited for text in texts if text.unedited is not None]),
            "targets": torch.tensor([token for text in texts for token in text.target]),
            "counts": torch.tensor([(len(text.hidden), text.start, len(text.target)) for text in texts]),
        }
        write_tensors(path, tensors, {})

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Self:
        """Read what `save` wrote.

        Raises:
            UserError: the file is damaged.
        """
        tensors = read_tensors(path, device)
        lengths, starts, tokens = tensors["counts"].T.tolist()
        hidden, targets = tensors["hidden"].split(lengths), tensors["targets"].split(tokens)
        unedited = [None, None, *tensors["unedited"].split(tokens[2:])]
        request, rephrase, *neighbours = [
            Text(hidden[number], starts[number], tuple(targets[number].tolist()), unedited[number])
            for number in range(len(lengths))
        ]
        return cls(tensors["keys"], tensors["gradients"], request, rephrase, tuple(neighbours))


class Reader:
    """Computes the activations of training cases.

    Args:
        decoder: the unedited model.
        sites: the edited modules, the lowest layer first.
        tokens: see `keys_and_gradients`.
        neighbours: how many of a case's neighbours are used at most.
    """

    def __init__(self, decoder: Decoder, sites: Sequence[Site], tokens: Tokens, neighbours: int) -> None:
        self._decoder, self._sites, self._tokens, self._neighbours = decoder, sites, tokens, neighbours

    def read(self, cases: Sequence[TrainingCase]) -> list[Activations]:
        """Return the activations of each case; how cases are put together changes only their rounding.

        Raises:
            UserError: the unedited model's loss on a case is not a number.
        """
        requests = self._requests([case.request for case in cases])
        rephrases = iter(self._rephrases([case.rephrase for case in cases]))
        chosen = [case.neighbours[: self._neighbours] for case in cases]
        continued = iter(self._continued([prompt for prompts in chosen for prompt in prompts]))
        found = []
        for case, pairs, neighbours in zip(cases, requests, chosen, strict=True):
            if not pairs.finite:
                raise UserError(
                    f"case {case.case_id}: can't be trained on, since the unedited model's loss is"
                    f" {pairs.loss}; leave it out by `evaluation.exclude`"
                )
            request = Text(pairs.hidden, len(case.request.prompt) - 1, case.request.target)
            texts = tuple(next(continued) for _ in neighbours)
            found.append(Activations(pairs.keys, pairs.gradients, request, next(rephrases), texts))
        return found

    def _requests(self, requests: Sequence[Request]) -> list[Pairs]:
        found: dict[int, Pairs] = {}
        for chunk in chunks([len(request.prompt) + len(request.target) for request in requests]):
            part = [requests[number] for number in chunk]
            pairs = keys_and_gradients(self._decoder, self._sites, part, self._tokens)
            found |= zip(chunk, pairs, strict=True)
        return [found[number] for number in range(len(requests))]

    @torch.no_grad()
    def _rephrases(self, requests: Sequence[Request]) -> list[Text]:
        texts = [request.prompt + request.target[:-1] for request in requests]
        found: dict[int, Text] = {}
        for chunk in chunks([len(text) for text in texts]):
            ids, mask = padded([texts[number] for number in chunk], self._decoder.device)
            hidden, _ = self._decoder.read(ids, mask, stop=self._sites[0].layer)
            for row, number in enumerate(chunk):
                start = len(requests[number].prompt) - 1
                found[number] = Text(hidden[row, : len(texts[number])], start, requests[number].target)
        return [found[number] for number in range(len(requests))]

    @torch.no_grad()
    def _continued(self, prompts: Sequence[tuple[int, ...]]) -> list[Text]:
        found: dict[int, Text] = {}
        for chunk in chunks([len(prompt) + NEIGHBOUR_TOKENS for prompt in prompts]):
            found |= zip(chunk, self._continue([prompts[number] for number in chunk]), strict=True)
        return [found[number] for number in range(len(prompts))]

    def _continue(self, prompts: Sequence[tuple[int, ...]]) -> list[Text]:
        """Continue prompts greedily, keeping what enters the first edited layer and leaves the last."""
        ids, mask = padded(prompts, self._decoder.device)
        rows, ends = torch.arange(len(prompts), device=self._decoder.device), mask.sum(dim=1) - 1
        prefix, out, context = self._both(ids, mask, None)
        leaving, entering = [out[rows, ends]], []
        answers = [self._decoder.logits(leaving[-1]).argmax(dim=1)]
        while len(answers) < NEIGHBOUR_TOKENS:
            token = answers[-1][:, None]
            hidden, out, context = self._both(token, torch.ones_like(token, dtype=torch.bool), context)
            entering.append(hidden)
            leaving.append(out[:, 0])
            answers.append(self._decoder.logits(leaving[-1]).argmax(dim=1))
        after, last = torch.cat(entering, dim=1), torch.stack(leaving, dim=1)
        texts = []
        for row, answer in enumerate(torch.stack(answers, dim=1).tolist()):
            ended = (place for place, token in enumerate(answer, 1) if token in self._decoder.ends)
            length = next(ended, NEIGHBOUR_TOKENS)
            hidden = torch.cat([prefix[row, : len(prompts[row])], after[row, : length - 1]])
            texts.append(Text(hidden, len(prompts[row]) - 1, tuple(answer[:length]), last[row, :length]))
        return texts

    def _both(self, ids: Tensor, mask: Tensor, context: Context | None) -> tuple[Tensor, Tensor, Context]:
        """Read new tokens; return what enters the first edited layer, what leaves the last, the context."""
        first = self._sites[0].layer
        hidden, lower = self._decoder.read(ids, mask, context, stop=first)
        out, upper = self._decoder.read(hidden, mask, context, first=first)
        return hidden, out, lower.joined(upper)


class Store:
    """Keeps activations on disk for as long as they are wanted.

    Args:
        reader: computes them.
        cases: all cases.
        order: numbers of the cases that are wanted, by when they are wanted first.
        folder: for one file per case.
        device: where activations go.
    """

    def __init__(
        self,
        reader: Reader,
        cases: Sequence[TrainingCase],
        order: Sequence[int],
        folder: Path,
        device: torch.device,
    ) -> None:
        self._reader, self._cases, self._folder, self._device = reader, cases, folder, device
        # The same groups in every run: how cases are put together changes the rounding.
        groups = [order[start : start + GROUP] for start in range(0, len(order), GROUP)]
        self._groups = {number: group for group in groups for number in group}

    def get(self, number: int) -> Activations:
        """Return a case's activations, computing its group's if they are not there.

        Raises:
            UserError: see `Reader.read`; the folder can't be written.
        """
        path = self._path(number)
        if not path.exists():
            group = self._groups[number]
            found = self._reader.read([self._cases[member] for member in group])
            for member, activations in zip(group, found, strict=True):
                activations.save(self._path(member))
        return Activations.load(path, self._device)

    def drop(self, numbers: Sequence[int]) -> None:
        """Delete activations that are not wanted any more."""
        for number in numbers:
            self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.safetensors"


def chunks(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Put texts of like length together, so that little is padding; yield their numbers.

    Args:
        lengths: tokens of each text.
    """
    chunk: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: (lengths[number], number)):
        if chunk and (len(chunk) + 1) * lengths[number] > READ_TOKENS:
            yield chunk
            chunk = []
        chunk.append(number)
    if chunk:
        yield chunk
