"""What the highest layer is to say, for a fold's cases: MEMIT and PMET write it into lower ones as well.

It is the dear part of their edits, and knows nothing of the second moments and their weight, nor of the
layers below: a row with others of these finds the file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clme.editors.base import Request
from clme.editors.contexts import Contexts
from clme.editors.passages import Passages
from clme.editors.vectors import Ease, VectorConfig, Vectors, VectorSearch, check_sites
from clme.errors import UserError
from clme.models.decoder import Site
from clme.padding import in_groups
from clme.study.cases import EncodedCase
from clme.study.jobs import request_of
from clme.study.parts import in_parts
from clme.study.prepare import Preparation

_NAMES = ("found", "initial", "added", "steps")


def prepare(job: Preparation) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Seek the vectors; see `clme.editors.vectors.StoredVectors` for the file.

    Raises:
        UserError: the model lacks a module, the contexts are missing, or a case can't be used.
    """
    compute_settings = job.settings.compute
    seek = _search(job)
    batches, first = job.batches(compute_settings.edit_tokens)

    def compute(batch: Sequence[EncodedCase]) -> dict[str, Tensor]:
        requests = [request_of(case) for case in batch]
        targets = [len(request.target) for request in requests]
        columns = zip(*in_groups(requests, targets, compute_settings.padding, seek), strict=True)
        return {name: torch.stack(column) for name, column in zip(_NAMES, columns, strict=True)}

    parts = in_parts(f"vectors {job.label}", batches, job.folder, compute, first=first)
    ids = [case.case.case_id for batch in batches for case in batch]
    if not parts:
        return {name: torch.empty(0) for name in _NAMES[1:]}, {"case_ids": ids}
    stored = {name: torch.cat([part[name] for part in parts]) for name in _NAMES}
    found = stored.pop("found")
    kept = {name: tensor[found] for name, tensor in stored.items()}
    return kept, {"case_ids": [name for name, one in zip(ids, found.tolist(), strict=True) if one]}


def _search(job: Preparation) -> Callable[[list[Request]], list[tuple[Tensor, ...]]]:
    """Return what seeks the vectors of a batch of requests; each result is named by `_NAMES`."""
    if "contexts" not in job.files:
        raise UserError("--needs contexts=FILE: missing; vectors are sought under a model's contexts")
    config = VectorConfig(**{name: job.need(name) for name in VectorConfig.model_fields})
    contexts = Contexts.load(job.files["contexts"], config.contexts)
    sites = [Site(*site) for site in job.need("sites")]
    ease = None if job.need("ease") is None else Ease(*job.need("ease"))
    check_sites(job.decoder, sites)
    first, subject = min(site.layer for site in sites), config.kl_prompt == "subject"
    nothing = torch.zeros(len(sites), job.decoder.embedding.embedding_dim, device=job.decoder.device)

    def seek(requests: list[Request]) -> list[tuple[Tensor, ...]]:
        passages = Passages.read(job.decoder, requests, contexts, first, subject=subject)
        found = VectorSearch(job.decoder, passages, sites, config, ease).run()
        return [
            (torch.tensor(True), one.initial, one.added, torch.tensor(one.steps))
            if isinstance(one, Vectors)
            else (torch.tensor(False), nothing, nothing, torch.tensor(0))
            for one in found
        ]

    return seek
