"""Time and peak memory of one edit at a time (paper, RQ2)."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

MEGABYTE = 1024 * 1024
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """What an edit took.

    Attributes:
        seconds: wall-clock time.
        peak_memory_mb: in MiB; on accelerators the peak of allocated memory, weights included; on
            the CPU the peak of resident memory above what the process held before its first edit. None
            where the operating system can't tell.
    """

    seconds: float
    peak_memory_mb: float | None


class Meter:
    """Measures calls one after the other.

    Args:
        device: where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        self._accelerated = device.type == _accelerator_type()
        gc.collect()
        self._loaded = _resident("VmRSS")

    def measure(self, call: Callable[[], Any]) -> Cost:
        """Run `call` and return what it took."""
        gc.collect()
        if self._accelerated:
            _synchronize()
            for number in range(torch.accelerator.device_count()):
                torch.accelerator.reset_peak_memory_stats(number)
        else:
            _reset_peak()
        start = time.perf_counter()
        kept = call()
        if self._accelerated:
            _synchronize()
        seconds = time.perf_counter() - start
        peak = _allocated_peak() if self._accelerated else self._peak_above_loaded()
        del kept
        return Cost(seconds, peak)

    def _peak_above_loaded(self) -> float | None:
        peak = _resident("VmHWM")
        if peak is None or self._loaded is None:
            return None
        return max(peak - self._loaded, 0.0)


def _accelerator_type() -> str | None:
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None else None


def _synchronize() -> None:
    for number in range(torch.accelerator.device_count()):
        torch.accelerator.synchronize(number)


def _allocated_peak() -> float:
    """Return the peak of memory on all accelerators that the process sees, in MiB."""
    count = torch.accelerator.device_count()
    return sum(torch.accelerator.max_memory_allocated(number) for number in range(count)) / MEGABYTE


def _resident(field: str) -> float | None:
    """Return a field of the process status (Linux) in MiB: VmRSS is now, VmHWM the peak."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), None)


def _reset_peak() -> None:
    """Let the kernel's peak start anew (Linux); where that is refused, the peak is the process's."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return
