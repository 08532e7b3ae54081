"""What the model says with a case's value in place: the same for all editors whose keys fire.

The request's prompt and its rephrase are run; a neighbour seldom fires, and is run in the edit job then.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clme.editors.codebooks import Values
from clme.edits import Codebook, Edit
from clme.errors import UserError
from clme.evaluation.decoding import Continuation
from clme.evaluation.protocol import PROTOCOLS
from clme.files import sha256_file
from clme.models.decoder import Site
from clme.study.cases import EncodedCase
from clme.study.evaluate import Evaluator
from clme.study.parts import in_parts
from clme.study.prepare import Preparation
from clme.study.settings import BaselineSettings
from clme.tensors import read_tensor_metadata, read_tensors


def prepare(job: Preparation) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Run the fold's cases under their values (`--needs values=FILE`); see `FiredOutputs` for the file.

    Raises:
        UserError: the values are missing, or a case can't be used.
    """
    if "values" not in job.files:
        raise UserError("--needs values=FILE: missing; make the file by `clme prepare values`")
    settings, decoder = job.settings, job.decoder
    site = decoder.site(job.need("layer"), job.need("module"))
    values = Values(job.files["values"], decoder.device)
    batches, first = job.batches(settings.compute.read_tokens)
    evaluator = Evaluator(
        decoder,
        job.tokenizer,
        PROTOCOLS[settings.protocol],
        seed=job.need("seed"),
        read_tokens=settings.compute.read_tokens,
        padding=settings.compute.padding,
        fluency=settings.evaluation.fluency,
    )
    width = decoder.linear(site).in_features

    def compute(batch: Sequence[EncodedCase]) -> dict[str, Tensor]:
        edits = [_always(site, width, values.of(case.case.case_id)[0]) for case in batch]
        return _packed([one for pair in evaluator.fired(batch, edits) for one in pair])

    parts = in_parts(f"fired {job.label}", batches, job.folder, compute, first=first)
    ids = [case.case.case_id for batch in batches for case in batch]
    empty = _packed([])
    return {name: torch.cat([empty[name], *(part[name] for part in parts)]) for name in empty}, {
        "case_ids": ids
    }


def _always(site: Site, width: int, value: Tensor) -> Edit:
    """Return an edit that puts a value [d_out] in place whatever the prompt."""
    keys, radii = value.new_zeros(1, width, dtype=torch.float32), value.new_full((1,), torch.inf)
    return Edit((Codebook(site, keys, value[None], radii),))


def _packed(continuations: Sequence[Continuation]) -> dict[str, Tensor]:
    """Lay continuations into tensors: token ids one after the other, lengths and counts [n, 2]."""
    ids = [token for one in continuations for token in (*one.output, *one.sampled)]
    lengths = [(len(one.output), len(one.sampled)) for one in continuations]
    counts = [(one.verified, one.generated) for one in continuations]
    return {
        "ids": torch.tensor(ids, dtype=torch.int32),
        "lengths": torch.tensor(lengths, dtype=torch.int32).view(-1, 2),
        "counts": torch.tensor(counts, dtype=torch.int32).view(-1, 2),
    }


class FiredOutputs:
    """A file of what the model says with values in place.

    Args:
        path: made by `clme prepare fired`.
        values: the file of values that the editor uses.
        settings: of the job that uses it.

    Raises:
        UserError: the file was made with other values, or under another protocol.
    """

    def __init__(self, path: Path, values: Path, settings: BaselineSettings) -> None:
        metadata = read_tensor_metadata(path)
        made = {
            "values": metadata.get("values_sha256"),
            "protocol": metadata["settings"]["protocol"],
            "fluency": metadata["settings"]["evaluation"]["fluency"],
        }
        wanted = {
            "values": sha256_file(values),
            "protocol": settings.protocol,
            "fluency": settings.evaluation.fluency,
        }
        for what, value in wanted.items():
            if made[what] != value:
                raise UserError(
                    f"{path}: was made with other {what} ({made[what]}, now {value}); rerun its rule"
                )
        tensors = read_tensors(path)
        ends = tensors["lengths"].flatten().cumsum(0).tolist()
        texts = [tuple(tensors["ids"][start:end].tolist()) for start, end in pairwise([0, *ends])]
        rows = zip(texts[::2], texts[1::2], tensors["counts"].tolist(), strict=True)
        found = [Continuation(False, output, sampled, *counts) for output, sampled, counts in rows]
        pairs = zip(found[::2], found[1::2], strict=True)
        self._found = dict(zip(metadata["case_ids"], pairs, strict=True))

    def of(self, case_id: str) -> tuple[Continuation, Continuation]:
        """Return what becomes of a case's prompt and of its rephrase."""
        return self._found[case_id]
