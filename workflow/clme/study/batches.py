"""Batches of cases: planned before a job starts, kept in its journal, halved where memory doesn't suffice."""

import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Literal, TypeVar

import psutil
import torch

from clme.errors import UserError
from clme.progress import Progress
from clme.stopping import Turns
from clme.study.cases import EncodedCase
from clme.study.journal import Journal
from clme.study.measure import MEGABYTE, Meter
from clme.study.settings import Compute

Batch = list[EncodedCase]
Result = TypeVar("Result")

_FREE_PART = 0.8
"""Of the memory that is free when a job starts, what its batches may take if no limit is given."""


def plan(cases: Sequence[EncodedCase], batch_cases: int, batch_tokens: int) -> list[Batch]:
    """Lay cases into batches of cases of like length; the same cases and limits give the same batches.

    Args:
        cases: to be laid into batches.
        batch_cases: cases in a batch at most.
        batch_tokens: prompt and target tokens in a batch at most, padding included; one case always fits.
    """
    batches: list[Batch] = []
    for case in sorted(cases, key=lambda case: (length(case), case.case.case_id)):
        wanted = len(batches[-1]) + 1 if batches else 0
        if not batches or wanted > batch_cases or wanted * length(case) > batch_tokens:
            batches.append([])
        batches[-1].append(case)
    return batches


def shard(batches: Sequence[Batch], number: int, of: int) -> list[Batch]:
    """Return a contiguous part of planned batches, of about as many tokens as each other part.

    Planning the part's cases anew gives the same batches.

    Args:
        batches: of all cases.
        number: the part's, from 1.
        of: how many parts there are; all together they hold each batch once.
    """
    ends = list(accumulate(sum(map(length, batch)) for batch in batches))
    middles = [end - sum(map(length, batch)) / 2 for end, batch in zip(ends, batches, strict=True)]
    return [
        batch
        for batch, middle in zip(batches, middles, strict=True)
        if int(of * middle / ends[-1]) == number - 1
    ]


def length(case: EncodedCase) -> int:
    """Return how many tokens a case's prompt and target have."""
    return len(case.request.prompt) + len(case.request.target)


class BatchRun:
    """Runs a job's cases in batches.

    The plan is written into the journal before the first batch, and again when a batch is halved since memory
    ran out: a job that goes on, here or elsewhere, runs the same batches.

    Args:
        label: what the progress is called.
        journal: open.
        limits: of the batches; with ``batch: auto`` they are measured.
        tokens: of a batch at most, where that isn't measured.
        device: where the model is.
        compute: returns the JSON-ready result of each case of a batch.
    """

    def __init__(
        self,
        label: str,
        journal: Journal,
        limits: Compute,
        tokens: Literal["edit_tokens", "read_tokens"],
        device: torch.device,
        compute: Callable[[Batch], dict[str, Any]],
    ) -> None:
        self._label, self._journal, self._limits = label, journal, limits
        self._tokens, self._device, self._compute = tokens, device, compute

    def run(self, cases: Sequence[EncodedCase]) -> dict[str, Any]:
        """Compute the batches that are not in the journal yet, and return the results of all by case.

        Raises:
            UserError: memory doesn't suffice for a single case.
            Stopped: a signal arrived, or the job's time ends; finished batches are in the journal.
        """
        waiting = self._planned(cases)
        done = sum(len(batch) for batch in waiting if self._is_done(batch))
        finished: list[Batch] = []
        turns = Turns()
        with Progress(self._label, len(cases), "case", done) as progress:
            while waiting:
                batch = waiting.pop(0)
                if not self._is_done(batch):
                    turns.next(progress.standing)
                    found = unless_out_of_memory(partial(self._compute, batch))
                    if found is None:
                        waiting = [*self._halved(batch), *waiting]
                        self._write([*finished, *waiting])
                        continue
                    self._journal.write(_key(batch), found)
                    progress.advance(len(batch))
                finished.append(batch)
        return {name: self._journal.records[_key(batch)][name] for batch in finished for name in _ids(batch)}

    def _is_done(self, batch: Batch) -> bool:
        """Tell whether the journal has all of a batch: another process may have halved it."""
        return self._journal.records.get(_key(batch), {}).keys() >= set(_ids(batch))

    def _planned(self, cases: Sequence[EncodedCase]) -> list[Batch]:
        """Return the journal's plan, or make it."""
        if "plan" not in self._journal.records:
            self._write(self._within_memory(cases) if self._limits.batch == "auto" else self._limited(cases))
        by_id = {case.case.case_id: case for case in cases}
        return [[by_id[name] for name in names] for names in self._journal.records["plan"]]

    def _write(self, batches: Sequence[Batch]) -> None:
        self._journal.write("plan", [_ids(batch) for batch in batches])

    def _limited(self, cases: Sequence[EncodedCase]) -> list[Batch]:
        return plan(cases, self._limits.batch_cases, getattr(self._limits, self._tokens))

    def _within_memory(self, cases: Sequence[EncodedCase]) -> list[Batch]:
        """Make batches as large as fit, by what the longest case alone and with the next one needs."""
        longest = sorted(cases, key=length, reverse=True)[:2]
        if len(longest) < 2:
            return self._limited(cases)
        budget = self._limits.memory_mb or _free_mb(self._device) * _FREE_PART
        meter = Meter(self._device)
        one = self._peak(meter, longest[:1])
        if one is None:
            return self._limited(cases)
        two = self._peak(meter, longest)
        if two is None:
            return plan(cases, 1, length(longest[0]))
        # A second case that the measurement doesn't see has its share, and takes at least a megabyte.
        each = max(two - one if two > one else two / 2, 1.0)
        fitting = max(int((budget - one) / each) + 1, 1)
        tokens = fitting * length(longest[0])
        print(
            f"{self._label}: a case of {length(longest[0])} tokens takes {one:.0f} MB, one more"
            f" {each:.0f} MB; {budget:.0f} MB are enough for batches of {tokens} tokens",
            file=sys.stderr,
            flush=True,
        )
        return plan(cases, len(cases), tokens)

    def _peak(self, meter: Meter, batch: Batch) -> float | None:
        """Return the peak memory of a batch in MB; None where it can't be told, or isn't there."""
        cost = unless_out_of_memory(lambda: meter.measure(lambda: self._compute(batch)))
        return None if cost is None else cost.peak_memory_mb

    def _halved(self, batch: Batch) -> list[Batch]:
        if len(batch) == 1:
            raise UserError(
                f"{self._label}: memory doesn't suffice for case {batch[0].case.case_id} alone; lower"
                " `compute.read_tokens`, leave the case out by `evaluation.exclude`, or take a larger device"
            )
        print(f"{self._label}: {len(batch)} cases need too much memory; halved", file=sys.stderr, flush=True)
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]


def _ids(batch: Batch) -> list[str]:
    return [case.case.case_id for case in batch]


def _key(batch: Batch) -> str:
    return "batch " + batch[0].case.case_id


def _free_mb(device: torch.device) -> float:
    """Return the memory that is free where the model is, in MB; of several accelerators, on the fullest."""
    if device.type == "cpu":
        return psutil.virtual_memory().available / MEGABYTE
    count = torch.accelerator.device_count()
    return min(torch.accelerator.get_memory_info(number)[0] for number in range(count)) / MEGABYTE


def unless_out_of_memory(call: Callable[[], Result]) -> Result | None:
    """Return what a call returns, or None if memory ran out; all that it held is freed then."""
    try:
        return call()
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
    # Only here is the error, with the frames that hold the tensors, gone.
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    return None


def _out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Tell memory that ran out from other errors; on a CPU, PyTorch has no type for it."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)
