"""Random numbers that belong to a thing, not to a process."""

import hashlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the random generator of one thing, the same whatever is drawn for others and in which order.

    Args:
        seed: the study's seed.
        names: what the numbers are for, such as ``"grace", "cnle-0017"``.
    """
    key = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], dtype=np.uint64)))
