"""GRACE: a codebook in place of one module's output."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from clme.editors.base import Editor, EditorConfig, Failure, Request
from clme.editors.losses import target_loss
from clme.edits import Codebook, Edit
from clme.models.decoder import Context, Decoder, Site, padded
from clme.randomness import generator


class GraceConfig(EditorConfig):
    """Hyperparameters of GRACE; the defaults are the paper's (Section III-F)."""

    layer: int = Field(27, ge=0, description="layer with the codebook, counted from 0")
    module: str = Field("mlp.down_proj", description="linear module within the layer")
    radius: float = Field(1.0, gt=0, description="deferral radius (Euclidean distance)")
    steps: int = Field(30, ge=1, description="optimisation steps of the value")
    learning_rate: float = Field(1.0, gt=0, description="Adam's learning rate")
    decoding: bool = Field(False, description="compare the decoded tokens' keys too (released code)")


class Grace(Editor):
    """General Retrieval Adapters for Continual Editing (Hartvigsen et al., 2023).

    One entry per edit: the key is the module's input at the prompt's last token, the value replaces the
    module's output there, and is trained from a cold start (uniform in 0..1) by Adam on the mean
    cross-entropy of the target's tokens, without early stopping.
    """

    name = "grace"
    Config = GraceConfig
    released = {"decoding": True}  # noqa: RUF012

    def check(self, decoder: Decoder) -> None:
        """See the base class."""
        decoder.site(self.config.layer, self.config.module)

    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """See the base class."""
        config: GraceConfig = self.config
        site = decoder.site(config.layer, config.module)
        keys, values, losses = self._optimise(decoder, site, requests)
        results: list[Edit | Failure] = []
        for key, value, loss in zip(keys, values, losses.tolist(), strict=True):
            if not math.isfinite(loss):
                results.append(Failure(f"the loss became {loss} within {config.steps} steps"))
                continue
            radius = torch.tensor([config.radius], device=decoder.device)
            codebook = Codebook(site, key[None].clone(), value[None].clone(), radius, config.decoding)
            results.append(Edit((codebook,), config.steps, loss))
        return results

    def _optimise(
        self, decoder: Decoder, site: Site, requests: Sequence[Request]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Train the values; return keys [requests, d_in], values [requests, d_out] and the last losses.

        The value acts at the prompt's last token: what comes before is read once, and so are the
        layers below. The steps run over the last prompt token and the target, from the site's layer on.
        """
        hidden, mask, context, keys = _read_up_to(decoder, site, requests)
        values = self._cold_start(requests, decoder.linear(site).out_features).to(
            decoder.device, decoder.dtype
        )
        values.requires_grad_(True)
        optimizer = torch.optim.Adam([values], lr=self.config.learning_rate)

        def losses() -> Tensor:
            def replaced(_: Tensor, y: Tensor) -> Tensor:
                return torch.cat([values[:, None], y[:, 1:]], dim=1)

            out, _ = decoder.read(hidden, mask, context, first=site.layer, hooks=[(site, replaced)])
            return target_loss(decoder, out, [0] * len(requests), [request.target for request in requests])

        for _ in range(self.config.steps):
            optimizer.zero_grad()
            losses().sum().backward()
            optimizer.step()
        with torch.no_grad():
            return keys, values.detach(), losses()

    def _cold_start(self, requests: Sequence[Request], width: int) -> Tensor:
        drawn = [generator(self.seed, "grace", request.case_id).random(width) for request in requests]
        return torch.from_numpy(np.stack(drawn))


@torch.no_grad()
def _read_up_to(
    decoder: Decoder, site: Site, requests: Sequence[Request]
) -> tuple[Tensor, Tensor, Context, Tensor]:
    """Read the prompts up to their last token, then the last token and the target up to the site's layer.

    Returns:
        The hidden states [requests, tokens, d] of the last prompt token and the target that enter the
        site's layer, their mask, the context of all layers before them, and the keys [requests, d_in].
    """
    before, before_mask = padded([request.prompt[:-1] for request in requests], decoder.device)
    _, context = decoder.read(before, before_mask)
    ids, mask = padded([request.prompt[-1:] + request.target[:-1] for request in requests], decoder.device)
    hidden, _ = decoder.read(ids, mask, context, stop=site.layer)
    captured: list[Tensor] = []
    decoder.read(
        hidden,
        mask,
        context,
        first=site.layer,
        stop=site.layer + 1,
        hooks=[(site, lambda x, _: captured.append(x[:, 0]))],
    )
    return hidden, mask, context, captured[0]
