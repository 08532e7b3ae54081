"""Representations of all prompts that editors are trained on or evaluated with, once per module."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from clme.representations import represent
from clme.study.cases import Case, outside, select
from clme.study.parts import in_parts
from clme.study.prepare import Preparation

Prompt = tuple[int, ...]

PART_PROMPTS = 112


def prepare(job: Preparation) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Read the prompts up to the module; see `clme.representations.Representations` for the file.

    Cases have neighbours in common: each prompt is read once.

    Raises:
        UserError: the model lacks the module, or a case can't be used.
    """
    site = job.decoder.site(job.need("layer"), job.need("module"))
    cases = job.encoded(_used(job))

    def compute(part: Sequence[Prompt]) -> dict[str, Tensor]:
        return vars(represent(job.decoder, site, part, job.settings.compute.read_tokens))

    prompts = sorted({prompt for case in cases for prompt in case.prompts}, key=lambda ids: (len(ids), ids))
    parts = [prompts[start : start + PART_PROMPTS] for start in range(0, len(prompts), PART_PROMPTS)]
    found = in_parts(f"representations {job.label}", parts, job.folder, compute, unit="prompt")
    number = {prompt: place for place, prompt in enumerate(prompts)}
    places = torch.tensor([number[prompt] for case in cases for prompt in case.prompts])
    tensors = {name: torch.cat([part[name] for part in found])[places] for name in ("last", "mean")}
    starts = torch.tensor([0, *accumulate(len(case.prompts) for case in cases)])
    ids = [case.case.case_id for case in cases]
    return {**tensors, "starts": starts}, {"case_ids": ids}


def _used(job: Preparation) -> list[Case]:
    """Return the cases that are edited, and those that an editor of some fold is trained on."""
    cases, settings = job.all_cases, job.settings
    wanted = {case.case_id for case in select(cases, settings.evaluation)}
    for fold in {case.fold for case in cases}:
        wanted |= {case.case_id for case in outside(cases, fold, settings.evaluation, settings.training)}
    return [case for case in cases if case.case_id in wanted]
