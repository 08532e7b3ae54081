"""FT-L: constrained fine-tuning of one matrix."""

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from clme.editors.base import Editor, EditorConfig, Failure, Request
from clme.editors.losses import target_loss
from clme.editors.rows import shrink
from clme.edits import Dense, Edit
from clme.models.decoder import Decoder, Site, padded


class FineTuningConfig(EditorConfig):
    """Hyperparameters of FT-L; the defaults are the paper's (Section III-F)."""

    layer: int = Field(21, ge=0, description="layer whose matrix is trained, counted from 0")
    module: str = Field("mlp.down_proj", description="linear module within the layer")
    steps: int = Field(40, ge=1, description="optimisation steps at most (released code: 25)")
    learning_rate: float = Field(5e-4, gt=0, description="Adam's learning rate")
    norm_constraint: float = Field(1e-4, gt=0, description="bound of each weight's change (L-infinity)")
    stop_loss: float = Field(1e-2, ge=0, description="a request whose loss is below stops (released code)")


class FineTuning(Editor):
    """Constrained fine-tuning (Zhu et al., 2020) on the whole target (FT-M, Zhang et al., 2024).

    Minimises the mean cross-entropy of the target's tokens over one matrix W by Adam; after each step
    W is clamped to the original weight +- `norm_constraint`.
    """

    name = "ft_l"
    Config = FineTuningConfig
    released = {"steps": 25}  # noqa: RUF012

    def check(self, decoder: Decoder) -> None:
        """See the base class."""
        decoder.site(self.config.layer, self.config.module)

    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """See the base class."""
        config: FineTuningConfig = self.config
        site = decoder.site(config.layer, config.module)
        ids, mask = padded([request.prompt + request.target[:-1] for request in requests], decoder.device)
        with torch.no_grad():
            hidden, _ = decoder.read(ids, mask, stop=config.layer)
        return _Optimisation(decoder, site, config, requests, hidden, mask).run()


class _Optimisation:
    """Trains one copy of the matrix per request; finished requests leave the batch.

    Args:
        decoder: the model.
        site: where the matrix stands.
        config: hyperparameters.
        requests: the batch.
        hidden: [requests, tokens, d], the hidden states that enter the site's layer.
        mask: [requests, tokens].
    """

    def __init__(
        self,
        decoder: Decoder,
        site: Site,
        config: FineTuningConfig,
        requests: Sequence[Request],
        hidden: Tensor,
        mask: Tensor,
    ) -> None:
        self._decoder, self._site, self._config = decoder, site, config
        self._requests = list(requests)
        self._hidden, self._mask = hidden, mask
        module = decoder.linear(site)
        self._weight = module.weight.to(decoder.device)
        self._bias = None if module.bias is None else module.bias.to(decoder.device)

    def run(self) -> list[Edit | Failure]:
        """Optimise until every request has stopped."""
        # In half precision the bounded change would be lost in rounding; so would Adam's steps.
        original = self._weight.float()
        bias = None if self._bias is None else self._bias.float()
        results: dict[int, Edit | Failure] = {}
        active = list(range(len(self._requests)))
        weights = original.repeat(len(active), 1, 1).requires_grad_(True)
        optimizer = torch.optim.Adam([weights], lr=self._config.learning_rate)
        for step in range(self._config.steps + 1):
            losses = self._losses(weights, active)
            last = step == self._config.steps
            staying = []
            for place, loss in enumerate(losses.tolist()):
                if not math.isfinite(loss):
                    results[active[place]] = Failure(f"the loss became {loss} in step {step + 1}")
                elif last or loss < self._config.stop_loss:
                    # A copy: the row would keep the whole batch's weights alive.
                    weight = weights[place].detach().clone()
                    results[active[place]] = Edit((Dense(self._site, weight, bias),), step, loss)
                else:
                    staying.append(place)
            if not staying:
                break
            optimizer.zero_grad()
            losses[staying].sum().backward()
            optimizer.step()
            bound = self._config.norm_constraint
            with torch.no_grad():
                weights.clamp_(original - bound, original + bound)
            if len(staying) < len(active):
                active = [active[place] for place in staying]
                weights, optimizer = shrink(weights, optimizer, staying)
        return [results[number] for number in range(len(self._requests))]

    def _losses(self, weights: Tensor, active: list[int]) -> Tensor:
        """Return each active request's loss under its own matrix."""
        index = torch.tensor(active, device=self._decoder.device)

        def trained(x: Tensor, _: Tensor) -> Tensor:
            y = torch.bmm(x.to(weights.dtype), weights.mT).to(x.dtype)
            return y if self._bias is None else y + self._bias

        hooks = [(self._site, trained)]
        hidden, _ = self._decoder.read(
            self._hidden[index], self._mask[index], first=self._site.layer, hooks=hooks
        )
        requests = [self._requests[number] for number in active]
        starts = [len(request.prompt) - 1 for request in requests]
        return target_loss(self._decoder, hidden, starts, [request.target for request in requests])
