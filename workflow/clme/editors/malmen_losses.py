"""MALMEN's meta loss, and what is measured on the way."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div
from torch.nn.utils.rnn import pad_sequence

from clme.editors.malmen_activations import Activations, Text, chunks
from clme.edits import Edit, edit_hooks
from clme.models.decoder import Decoder, Hook, Site


class UpperLayers:
    """Runs texts through the layers from the first edited one on.

    Args:
        decoder: the unedited model.
        sites: the edited modules, the lowest layer first.
    """

    def __init__(self, decoder: Decoder, sites: Sequence[Site]) -> None:
        self._decoder, self._sites = decoder, sites

    def meta_losses(
        self, cases: Sequence[Activations], keys: Tensor, factors: Sequence[Tensor], locality: float
    ) -> tuple[float, float]:
        """Differentiate a batch's meta loss under its common edit, adding to the factors' gradients.

        Args:
            cases: the batch.
            keys: [layers, n, d_in], of all cases.
            factors: for each layer [n, d_out], see `Hypernetwork.factors`.
            locality: weight of the neighbours' divergence.

        Returns:
            The mean cross-entropy of the rephrases' targets and the neighbours' mean divergence from the
            unedited model, in nats per token.
        """
        hooks = [(site, _shifted(k, z)) for site, k, z in zip(self._sites, keys, factors, strict=True)]
        rephrases = [case.rephrase for case in cases]
        neighbours = [text for case in cases for text in case.neighbours]
        return self._differentiated(rephrases, hooks, 1.0), self._differentiated(neighbours, hooks, locality)

    def _differentiated(
        self, texts: Sequence[Text], hooks: Sequence[tuple[Site, Hook]], weight: float
    ) -> float:
        """Differentiate the weighted mean loss of all tokens; return it unweighted."""
        tokens = sum(len(text.target) for text in texts)
        mean = 0.0
        for chunk in chunks([len(text.hidden) for text in texts]):
            part = [texts[number] for number in chunk]
            losses = [self._loss(*one) for one in zip(part, self._logits(part, hooks), strict=True)]
            loss = torch.stack(losses).sum() / tokens
            (weight * loss).backward()
            mean += loss.item()
        return mean

    @torch.no_grad()
    def measure(self, cases: Sequence[Activations], edits: Sequence[Edit]) -> dict[str, float]:
        """Measure edits, each on its own case.

        Returns:
            The share of tokens that the edited model predicts right, of requests (`effectiveness`),
            rephrases (`generalization`) and neighbours (`specificity`), averaged over texts, and the two
            parts of the meta loss (`generalization_loss`, `locality_loss`).
        """
        rows = [
            (dimension, text, edit)
            for case, edit in zip(cases, edits, strict=True)
            for dimension, texts in _dimensions(case).items()
            for text in texts
        ]
        shares: defaultdict[str, list[float]] = defaultdict(list)
        losses: defaultdict[str, float] = defaultdict(float)
        tokens: defaultdict[str, int] = defaultdict(int)
        for chunk in chunks([len(text.hidden) for _, text, _ in rows]):
            dimensions, texts, chosen = zip(*(rows[number] for number in chunk), strict=True)
            found = self._logits(texts, edit_hooks(chosen, prompt_end=None))
            for dimension, text, logits in zip(dimensions, texts, found, strict=True):
                shares[dimension].append(float((logits.argmax(dim=1) == self._target(text)).float().mean()))
                losses[dimension] += float(self._loss(text, logits))
                tokens[dimension] += len(text.target)
        return {
            **{dimension: sum(values) / len(values) for dimension, values in shares.items()},
            "generalization_loss": losses["generalization"] / tokens["generalization"],
            "locality_loss": losses["specificity"] / tokens["specificity"],
        }

    def _loss(self, text: Text, logits: Tensor) -> Tensor:
        """Return the summed cross-entropy of a text's target, or a neighbour's KL(unedited || edited).

        Args:
            text: of n target tokens.
            logits: [n, vocabulary], under an edit.
        """
        if text.unedited is None:
            return cross_entropy(logits, self._target(text), reduction="sum")
        with torch.no_grad():
            reference = self._decoder.logits(text.unedited).float().log_softmax(dim=1)
        return kl_div(logits.log_softmax(dim=1), reference, reduction="sum", log_target=True)

    def _target(self, text: Text) -> Tensor:
        return torch.tensor(text.target, device=self._decoder.device)

    def _logits(self, texts: Sequence[Text], hooks: Sequence[tuple[Site, Hook]]) -> tuple[Tensor, ...]:
        """Return for each text the logits [target tokens, vocabulary] that predict its target."""
        hidden = pad_sequence([text.hidden for text in texts], batch_first=True)
        lengths = torch.tensor([len(text.hidden) for text in texts], device=self._decoder.device)
        mask = torch.arange(hidden.shape[1], device=self._decoder.device)[None] < lengths[:, None]
        out, _ = self._decoder.read(hidden, mask, first=self._sites[0].layer, hooks=hooks)
        places = [out[row, text.start : text.start + len(text.target)] for row, text in enumerate(texts)]
        return self._decoder.logits(torch.cat(places)).float().split([len(text.target) for text in texts])


def _dimensions(case: Activations) -> dict[str, tuple[Text, ...]]:
    return {
        "effectiveness": (case.request,),
        "generalization": (case.rephrase,),
        "specificity": case.neighbours,
    }


def _shifted(keys: Tensor, factors: Tensor) -> Hook:
    """Shift a weight by Z^T K for all rows of a batch: y += (x K^T) Z."""

    def hook(x: Tensor, y: Tensor) -> Tensor:
        return y + (x.to(keys.dtype) @ keys.mT @ factors).to(y.dtype)

    return hook
