"""Stopping before the end: a job that is told to stop, or that runs out of time, ends between two batches.

What is finished is on disk then, and a rerun goes on. Batch systems send SIGTERM, or SIGUSR1 where they are
asked to, to all processes of a job: to Snakemake in the job, the rule's shell, and what writes the log, too.
Snakemake waits for its jobs on SIGTERM; on SIGUSR1 it would die, and the others on both. So the Snakefile
lets SIGUSR1 be ignored, and the rules' shell SIGTERM, and what they start inherits that; this module changes
it for the one process that can stop. Where no signal arrives in time, the end of the job's time is known, and
a batch that would not fit before it isn't begun.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from clme import allocation

STATUS = os.EX_TEMPFAIL
"""Exit status of a job that has stopped: 75, "try again" by convention."""
MARGIN_SECONDS = 10.0
"""What is left for writing results and for what follows in the job."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

_told: list[str] = []


class Stopped(Exception):
    """The work has stopped before its end; the message is one line that says what is done."""


@contextmanager
def told_by_signals() -> Iterator[None]:
    """Note SIGTERM and SIGUSR1 instead of dying of them; the work looks at the notes between its parts."""
    before = {number: signal.signal(number, _note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _told.clear()


def _note(number: int, frame: FrameType | None) -> None:
    del frame
    _told.append(signal.Signals(number).name)


def heed(standing: str) -> None:
    """Stop if a signal has said so.

    Args:
        standing: what is done, for the message.

    Raises:
        Stopped: a signal arrived.
    """
    if _told:
        raise Stopped(f"{standing}; stopped by {_told[0]}; a rerun goes on from here")


class Turns:
    """Asks before each part of a long work whether it is still to be begun."""

    def __init__(self) -> None:
        now = time.monotonic()
        left = allocation.seconds_left()
        self._end = None if left is None else now + left - MARGIN_SECONDS
        self._begun: float | None = None
        self._slowest = 0.0

    def next(self, standing: str, keep: Callable[[], None] = lambda: None) -> None:
        """Begin the next part, unless a signal has arrived or the slowest part so far would not fit.

        Args:
            standing: what is done, for the message.
            keep: writes what is done, where it isn't on disk already.

        Raises:
            Stopped: the part is not to be begun.
        """
        now = time.monotonic()
        if self._begun is not None:
            self._slowest = max(self._slowest, now - self._begun)
        self._begun = now
        late = self._end is not None and now + self._slowest > self._end
        if not (late or _told):
            return
        keep()
        heed(standing)
        raise Stopped(f"{standing}; stopped before the job's time ends; a rerun goes on from here")
