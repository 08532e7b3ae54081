"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts finished items; shows rate and remaining time on standard error.

    Args:
        label: what is being done, such as ``grace smollm2-135m/cnle fold 0``.
        total: number of items.
        unit: the item's name, singular.
        done: items that an earlier run has finished; they don't count for the rate.
    """

    def __init__(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._initial = self._count = done
        self._start = self._shown = time.monotonic()
        self._bar = tqdm(total=total, initial=done, unit=unit, desc=label) if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        if self._initial and self._bar is None:
            self._line(f"{self._initial} of {self._total} {self._unit}s were done before")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def standing(self) -> str:
        """Say in a line what is done."""
        return f"{self._label}: {self._count} of {self._total} {self._unit}s are done"

    def advance(self, items: int = 1) -> None:
        """Count `items` more as finished."""
        self._count += items
        if self._bar is not None:
            self._bar.update(items)
            return
        now = time.monotonic()
        if self._count < self._total and now - self._shown < SECONDS_BETWEEN_LINES:
            return
        self._shown = now
        self._line(
            tqdm.format_meter(
                self._count,
                self._total,
                now - self._start,
                ncols=80,
                unit=self._unit,
                initial=self._initial,
                bar_format="{n_fmt}/{total_fmt} {unit}s, {elapsed} so far, {remaining} left, {rate_fmt}",
            )
        )

    def _line(self, text: str) -> None:
        print(f"{self._label}: {text}", file=sys.stderr, flush=True)
