"""Measures what asking a service costs beside the service: it answers at once, and all else is as it is.

    python benchmarks/asking.py 594000

Prints a line of JSON for each step: its name, seconds, seconds of the CPU, and the peak of resident memory so
far in MB (10^6). Steps: the estimate, grading the first half, the estimate and grading of all then (as of a
run that goes on after a kill), and grading all once more.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import openai
import pandas as pd
from synthetic import SIZES, intents

from clme.datasets import grading
from clme.datasets.services import Service
from clme.datasets.settings import ServiceSettings


class Instant:
    """Stands in for the client of OpenAI's protocol."""

    def __init__(self, **_: object) -> None:
        message = SimpleNamespace(content=grading.LEVELS[-1])
        reply = SimpleNamespace(choices=[SimpleNamespace(message=message)])
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=lambda **_: reply))


def measure(step: str, call: Callable[[], object]) -> None:
    """Call, and print what that took."""
    wall, cpu = time.monotonic(), time.process_time()
    call()
    took = time.monotonic() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps([step, *took, peak]), flush=True)


def main(pairs: int) -> None:
    """Ask about so many pairs."""
    openai.OpenAI = Instant  # type: ignore[misc, assignment]
    settings = ServiceSettings(base_url="http://localhost/v1", model="none", input_price=1, output_price=1)
    size = SIZES["cnle"].part(pairs / SIZES["cnle"].pairs)
    snippets = [f"values.sort(key=lambda item: item[{number}])" for number in range(size.pairs)]
    frame = pd.DataFrame({"input": list(intents(size)), "target": snippets})
    with tempfile.TemporaryDirectory() as folder:
        service = Service(settings, Path(folder) / "answers.sqlite", grading.GRADE_TOKENS)
        half = frame.head(pairs // 2)
        measure("estimate: nothing answered", lambda: service.estimate(grading.prompts(frame)))
        measure("grade: first half", lambda: grading.grade_by_service(half, service))
        measure("estimate: half answered", lambda: service.estimate(grading.prompts(frame)))
        measure("grade: second half", lambda: grading.grade_by_service(frame, service))
        measure("grade: all answered", lambda: grading.grade_by_service(frame, service))


if __name__ == "__main__":
    main(int(sys.argv[1]))
