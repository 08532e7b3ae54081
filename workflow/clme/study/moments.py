"""Second moments of a module's inputs in several layers at once, in one pass over a text."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clme.datasets.texts import TEXTS
from clme.editors.moments import Sums
from clme.editors.npz import read_npz
from clme.errors import UserError
from clme.files import read_parquet
from clme.models.decoder import Decoder, padded
from clme.models.text import Tokenizer
from clme.progress import Progress
from clme.stopping import Turns
from clme.study.prepare import Preparation
from clme.study.settings import NPZ, MomentsSettings
from clme.tensors import read_tensors, write_tensors

GROUP = 100
"""Texts that are laid into batches together, by length."""
SECONDS_BETWEEN_CHECKPOINTS = 60.0


def prepare(job: Preparation) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Sum over the texts (`--needs texts=FILE`), or take the sums from files in ROME's layout.

    An interrupted run goes on after its last checkpoint, with the same result.

    Raises:
        UserError: the model lacks a layer or module, or the texts or files can't be used.
    """
    settings = MomentsSettings.model_validate({name: job.need(name) for name in MomentsSettings.model_fields})
    sites = [job.decoder.site(layer, job.need("module")) for layer in job.need("layers")]
    if settings.corpus.startswith(NPZ):
        folder = settings.corpus.removeprefix(NPZ).replace("{model}", job.settings.model)
        return read_npz(Path(folder), job.decoder, sites)
    if "texts" not in job.files:
        raise UserError("--needs texts=FILE: missing; make the file by `clme texts`")
    texts = read_parquet(job.files["texts"], schema=TEXTS)["text"].tolist()
    used = texts[: max(round(settings.fraction * settings.samples), 1)]
    sums = Sums(sites, getattr(torch, settings.precision))
    run = _Run(job, sums, used, settings.max_tokens)
    run.all()
    about: dict[str, Any] = {"samples_used": len(used), "tokens": sums.tokens}
    if settings.fraction < 1:
        about["note"] = (
            f"second moments over {len(used):,} of {settings.samples:,} texts of {settings.corpus}"
        )
    return sums.tensors(), about


class _Run:
    """The pass over the texts, group by group.

    Args:
        job: the preparation.
        sums: what is summed up.
        texts: all that are used.
        max_tokens: longer texts are cut.
    """

    def __init__(self, job: Preparation, sums: Sums, texts: Sequence[str], max_tokens: int) -> None:
        self._job, self._sums, self._texts = job, sums, texts
        self._max_tokens = min(max_tokens, job.decoder.max_tokens)
        self._checkpoint = job.folder / "sums.safetensors"

    def all(self) -> None:
        """Read the groups that are not in the checkpoint."""
        done = self._restore()
        written, cost = time.monotonic(), 0.0
        turns = Turns()
        label = f"moments {self._job.label}"
        with Progress(label, len(self._texts), "text", min(done * GROUP, len(self._texts))) as progress:
            for start in range(done * GROUP, len(self._texts), GROUP):
                turns.next(progress.standing, partial(self._write, start // GROUP))
                group = self._texts[start : start + GROUP]
                read_texts(self._job.decoder, self._job.tokenizer, group, self._sums, self._limits())
                progress.advance(len(group))
                # Writing may take a while: it is to be a small part of the work.
                if time.monotonic() - written > max(SECONDS_BETWEEN_CHECKPOINTS, 20 * cost):
                    begun = time.monotonic()
                    self._write(start // GROUP + 1)
                    written = time.monotonic()
                    cost = written - begun

    def _limits(self) -> tuple[int, int]:
        return self._max_tokens, self._job.settings.compute.read_tokens

    def _restore(self) -> int:
        """Return how many groups were read before."""
        if not self._checkpoint.exists():
            return 0
        stored = read_tensors(self._checkpoint, self._job.decoder.device)
        self._sums.restore(stored)
        return int(stored["groups"])

    def _write(self, groups: int) -> None:
        write_tensors(self._checkpoint, {**self._sums.tensors(), "groups": torch.tensor(groups)}, {})


@torch.no_grad()
def read_texts(
    decoder: Decoder, tokenizer: Tokenizer, texts: Sequence[str], sums: Sums, limits: tuple[int, int]
) -> None:
    """Add a group of texts to the sums; the model is run up to the highest site's layer.

    Args:
        decoder: the model.
        tokenizer: its tokenizer.
        texts: any number.
        sums: what is summed up.
        limits: tokens of a text at most, and tokens that are read together at most.
    """
    longest, together = limits
    rows = sorted((tokenizer.encode(text)[:longest] for text in texts), key=len, reverse=True)
    stop = max(site.layer for site in sums.sites) + 1
    for batch in _batches([row for row in rows if row], together):
        ids, mask = padded(batch, decoder.device)
        decoder.read(ids, mask, stop=stop, hooks=sums.hooks(mask))


def _batches(rows: Sequence[tuple[int, ...]], together: int) -> Iterator[Sequence[tuple[int, ...]]]:
    """Yield batches of rows, which come longest first, of so many tokens at most; one row always fits."""
    start = 0
    while start < len(rows):
        count = max(together // len(rows[start]), 1)
        yield rows[start : start + count]
        start += count
