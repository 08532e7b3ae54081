"""The optimised values of a fold's cases, once for all editors with a codebook: only their keys differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clme.editors.codebooks import ValueConfig, optimise
from clme.padding import in_groups
from clme.study.cases import EncodedCase
from clme.study.jobs import request_of
from clme.study.parts import in_parts
from clme.study.prepare import Preparation


def prepare(job: Preparation) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Optimise the values; see `clme.editors.codebooks.Values` for the file.

    Raises:
        UserError: the model lacks the module, or a case can't be used.
    """
    seed, compute_settings = job.need("seed"), job.settings.compute
    config = ValueConfig(**{name: job.need(name) for name in ValueConfig.model_fields})
    site = job.decoder.site(config.layer, config.module)
    batches, first = job.batches(compute_settings.edit_tokens)

    def optimised(group: Sequence[EncodedCase]) -> list[tuple[Tensor, Tensor]]:
        made = optimise(job.decoder, site, config, seed, [request_of(case) for case in group])
        return list(zip(made.values, made.losses, strict=True))

    def compute(batch: Sequence[EncodedCase]) -> dict[str, Tensor]:
        targets = [len(case.request.target) for case in batch]
        found = in_groups(batch, targets, compute_settings.padding, optimised)
        values, losses = zip(*found, strict=True)
        return {"values": torch.stack(values), "losses": torch.stack(losses)}

    parts = in_parts(f"values {job.label}", batches, job.folder, compute, first=first)
    ids = [case.case.case_id for batch in batches for case in batch]
    width = job.decoder.linear(site).out_features
    empty = {"values": torch.empty(0, width), "losses": torch.empty(0)}
    tensors = {name: torch.cat([part[name] for part in parts]) if parts else empty[name] for name in empty}
    return tensors, {"case_ids": ids}
