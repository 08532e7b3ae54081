"""Calls that are tried again, after longer and longer pauses, where another attempt may mend a failure."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

Result = TypeVar("Result")

LONGEST_WAIT = 120.0
"""Seconds that a server's wish to wait is followed at most."""


class Transient(Exception):
    """A failure that another attempt may mend.

    Args:
        said: what happened.
        wait: seconds that the server asks to wait.
    """

    def __init__(self, said: str, wait: float = 0.0) -> None:
        super().__init__(said)
        self.wait = wait


def patiently(call: Callable[[], Result], attempts: int) -> Result:
    """Call until it doesn't fail by `Transient`.

    Pauses double from half a second to a minute; a longer one that the server asks for is kept.

    Args:
        call: what is tried.
        attempts: times that it is tried at most.

    Raises:
        Transient: the last attempt failed, too.
    """
    growing = wait_exponential(multiplier=0.5, max=60)

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return max(growing(state), error.wait if isinstance(error, Transient) else 0.0)

    retrying = Retrying(
        retry=retry_if_exception_type(Transient),
        stop=stop_after_attempt(attempts),
        wait=pause,
        reraise=True,
    )
    return retrying(call)


def asked_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds of ``Retry-After``; dates, which are rare, are left to the growing pauses."""
    try:
        return min(float(headers.get("Retry-After", "")), LONGEST_WAIT)
    except ValueError:
        return 0.0
