"""What GRACE and A-GRACE share: the value that replaces a module's output; they differ in the key."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from clme.editors.base import Editor, EditorConfig, Failure, Need, Request
from clme.editors.losses import target_loss
from clme.edits import Codebook, Edit
from clme.keys import KeyEncoder
from clme.models.context import Context
from clme.models.decoder import Decoder, Site, padded
from clme.randomness import generator
from clme.representations import Pool, Pooled, Representations, represent, watch
from clme.tensors import read_tensor_metadata, read_tensors


class ValueConfig(EditorConfig):
    """Hyperparameters of a value's optimisation; the defaults are the paper's (Section III-F)."""

    layer: int = Field(27, ge=0, description="layer with the codebook, counted from 0")
    module: str = Field("mlp.down_proj", description="linear module within the layer")
    steps: int = Field(30, ge=1, description="optimisation steps of the value")
    learning_rate: float = Field(1.0, gt=0, description="Adam's learning rate")


class CodebookConfig(ValueConfig):
    """Hyperparameters of an editor with a codebook; the defaults are the paper's (Section III-F)."""

    radius: float = Field(1.0, gt=0, description="deferral radius (Euclidean distance)")


@dataclass(frozen=True)
class Optimised:
    """What optimisation makes of a batch of requests.

    Attributes:
        values: [requests, d_out].
        losses: [requests], after the last step.
        prompts: the prompts' representations, which are read on the way.
    """

    values: Tensor
    losses: Tensor
    prompts: Pooled


def optimise(
    decoder: Decoder,
    site: Site,
    config: ValueConfig,
    seed: int,
    requests: Sequence[Request],
    start: Tensor | None = None,
) -> Optimised:
    """Train a value for each request that replaces the module's output at the prompt's last token.

    Cold start (uniform in 0..1), Adam on the mean cross-entropy of the target's tokens, no early stop.
    What comes before the prompt's last token is read once, and so are the layers below. The steps run
    over that token and the target, from the site's layer on.

    Args:
        decoder: the unedited model.
        site: the module.
        config: hyperparameters.
        seed: the study's seed.
        requests: a batch.
        start: [requests, d_out], values to go on with instead of the cold start.
    """
    hidden, mask, context, prompts = _read_up_to(decoder, site, requests)
    if start is None:
        start = _cold_start(seed, requests, decoder.linear(site).out_features)
    # In float32 whatever the model's precision, as Adam's steps get lost otherwise.
    values = start.detach().clone().to(decoder.device, torch.float32).requires_grad_(True)
    optimizer = torch.optim.Adam([values], lr=config.learning_rate)

    def losses() -> Tensor:
        def replaced(_: Tensor, y: Tensor) -> Tensor:
            return torch.cat([values[:, None].to(y.dtype), y[:, 1:]], dim=1)

        out, _ = decoder.read(hidden, mask, context, first=site.layer, hooks=[(site, replaced)])
        return target_loss(decoder, out, [0] * len(requests), [request.target for request in requests])

    for _ in range(config.steps):
        optimizer.zero_grad()
        losses().sum().backward()
        optimizer.step()
    with torch.no_grad():
        return Optimised(values.detach(), losses(), prompts)


def _cold_start(seed: int, requests: Sequence[Request], width: int) -> Tensor:
    drawn = [generator(seed, "grace", request.case_id).random(width) for request in requests]
    return torch.from_numpy(np.stack(drawn))


@torch.no_grad()
def _read_up_to(
    decoder: Decoder, site: Site, requests: Sequence[Request]
) -> tuple[Tensor, Tensor, Context, Pooled]:
    """Read the prompts, then their last token and the target up to the site's layer.

    Returns:
        The hidden states [requests, tokens, d] of the last prompt token and the target that enter the
        site's layer, their mask, the context of all layers before them, and the representations.
    """
    ids, mask = padded([request.prompt for request in requests], decoder.device)
    ends = mask.sum(dim=1) - 1
    found: list[Pooled] = []
    _, context = decoder.read(ids, mask, hooks=[watch(site, ends, found)])
    slots = torch.arange(ids.shape[1], device=decoder.device)
    context = context.without(slots == ends[:, None])
    ids, mask = padded([request.prompt[-1:] + request.target[:-1] for request in requests], decoder.device)
    hidden, _ = decoder.read(ids, mask, context, stop=site.layer)
    return hidden, mask, context, found[0]


class Values:
    """A file of optimised values.

    Args:
        path: made by `clme prepare values`.
        device: where the values go.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        tensors = read_tensors(path, device)
        self._values, self._losses = tensors["values"], tensors["losses"]
        self._number = {
            case_id: number for number, case_id in enumerate(read_tensor_metadata(path)["case_ids"])
        }

    def __contains__(self, case_id: str) -> bool:
        return case_id in self._number

    def of(self, case_id: str) -> tuple[Tensor, float]:
        """Return a case's value [d_out] and loss."""
        number = self._number[case_id]
        return self._values[number], float(self._losses[number])


@dataclass(frozen=True)
class _Group:
    """Values [requests, d_out], losses [requests] and prompts' representations [requests, d_in]."""

    values: Tensor
    losses: Tensor
    prompts: Tensor


class CodebookEditor(Editor):
    """Makes codebooks of one entry; a subclass says what the key is.

    Attributes:
        pool: which representation of a prompt the key is made of.
    """

    Config = CodebookConfig
    pool: ClassVar[Pool] = "last"
    _known: Values | None = None
    _represented: Representations | None = None

    def check(self, decoder: Decoder) -> None:
        """See the base class."""
        decoder.site(self.config.layer, self.config.module)

    def needs(self) -> tuple[Need, ...]:
        """See the base class."""
        config: CodebookConfig = self.config
        settings: dict[str, Any] = config.model_dump(include=set(ValueConfig.model_fields))
        settings |= {"seed": self.seed}
        # What the model says with a value in place is of the value alone, so editors share it as well.
        return Need("values", settings, shortcut=True), Need("fired", settings, shortcut=True)

    def load(self, decoder: Decoder, files: Mapping[str, Path]) -> None:
        """See the base class; what is said with a value in place matters to evaluation only."""
        if "values" in files:
            self._known = Values(files["values"], decoder.device)
        if "representations" in files:
            self._represented = Representations(files["representations"])

    def codebook(self, site: Site, prompt: Tensor, value: Tensor) -> Codebook:
        """Return the codebook of an edit.

        Args:
            site: the module.
            prompt: [d_in], the prompt's representation.
            value: [d_out].
        """
        encoder = self.encoder()
        key = prompt[None].clone() if encoder is None else encoder(prompt[None])
        radius = torch.tensor([self.config.radius], device=value.device)
        return Codebook(site, key, value[None].clone(), radius, pool=self.pool, encoder=encoder)

    def keys(self, decoder: Decoder, requests: Sequence[Request]) -> Tensor:
        """Return the keys [requests, d_key] that the requests' prompts have."""
        encoder, site = self.encoder(), decoder.site(self.config.layer, self.config.module)
        prompts = self._prompts(decoder, site, requests)
        return prompts if encoder is None else encoder(prompts)

    def edit_from(self, decoder: Decoder, request: Request, value: Tensor) -> Edit | Failure:
        """Make an edit whose value is trained on from an earlier one [d_out]."""
        config: CodebookConfig = self.config
        site = decoder.site(config.layer, config.module)
        found = optimise(decoder, site, config, self.seed, [request], value[None])
        return self._edit(site, found.prompts.of(self.pool)[0], found.values[0], float(found.losses))

    def encoder(self) -> KeyEncoder | None:
        """Return what maps a representation to a key; None for the representation itself."""
        return None

    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """See the base class."""
        site = decoder.site(self.config.layer, self.config.module)
        results: dict[str, Edit | Failure] = {}
        for group, found in self._values(decoder, site, requests):
            parts = zip(found.prompts, found.values, found.losses.tolist(), strict=True)
            for request, (prompt, value, loss) in zip(group, parts, strict=True):
                results[request.case_id] = self._edit(site, prompt, value, loss)
        return [results[request.case_id] for request in requests]

    def _edit(self, site: Site, prompt: Tensor, value: Tensor, loss: float) -> Edit | Failure:
        steps = self.config.steps
        if not math.isfinite(loss):
            return Failure(f"the loss became {loss} within {steps} steps")
        return Edit((self.codebook(site, prompt, value),), steps, loss)

    def _values(
        self, decoder: Decoder, site: Site, requests: Sequence[Request]
    ) -> list[tuple[list[Request], "_Group"]]:
        """Look up what is known and optimise the rest."""
        known = [request for request in requests if self._known and request.case_id in self._known]
        others = [request for request in requests if request not in known]
        groups = []
        if known and self._known:
            values, losses = zip(*(self._known.of(request.case_id) for request in known), strict=True)
            prompts = self._prompts(decoder, site, known)
            groups.append((known, _Group(torch.stack(values), torch.tensor(losses), prompts)))
        if others:
            made = optimise(decoder, site, self.config, self.seed, others)
            groups.append((others, _Group(made.values, made.losses, made.prompts.of(self.pool))))
        return groups

    def _prompts(self, decoder: Decoder, site: Site, requests: Sequence[Request]) -> Tensor:
        """Return the prompts' representations [requests, d_in]: looked up, or read."""
        stored = self._represented
        if stored is not None and all(request.case_id in stored for request in requests):
            found = [stored.of(request.case_id, self.pool)[0] for request in requests]
            return torch.stack(found).to(decoder.device)
        return represent(decoder, site, [request.prompt for request in requests]).of(self.pool)
