"""How the benchmark talks to what it measures: processes that read and write JSON, one object per line.

A side is a program that answers each line of its standard input by one line of its standard output. Two
messages come:

``{"do": "load", ...}``, once for each dataset, answered by ``{}`` (this engine tells its device):

- ``model``: the model's folder; ``device``: as PyTorch calls it; ``dtype``: the engine's; ``threads``;
- ``seed``; ``protocol``: ``paper`` or ``released``; ``task``: ``cnle`` or ``csne``; ``compute``: the study's;
- ``fluency``: ``{"tokens": 64, "top_k": 5, "beams": 5}``, or null; ``specificity_tokens``: 16;
- ``cases``: a list of ``{"case_id", "prompt", "rephrase", "target", "neighbours"}``, all texts;
- ``rows``: by name ``{"editor", "hyperparameters", "files"}``: what differs from the editor's defaults, and
  what it needs (contexts, second moments, trained states), by kind;
- ``counting``: whether operations and memory are of interest, and seconds are not;
- ``sharing``: whether only outputs are of interest, so that rows may share values in every way of running.

``{"do": "run", "row": NAME, "cases": [CASE_ID, ...], "together": BOOL}``: edit and evaluate these cases, in
batches and with all that rows share if `together`, else one after the other. Answered by

- ``parts``: for ``edit``, ``evaluation`` (greedy outputs: as many tokens as the target has for prompt and
  rephrase, `specificity_tokens` for each neighbour), and ``fluency`` (two sampled texts, if
  wanted) or ``both`` (evaluation and fluency together): ``{"seconds", "peak_memory_mb", "flops",
  "tokens"}``, sums over the cases, for memory the largest; what can't be told is null;
- ``outputs``: by case, the token ids of the greedy outputs, prompt first, then rephrase and neighbours;
- ``failed``: by case, why an edit failed;
- optionally ``margins`` and ``runners_up``, laid out as the outputs: by how much the logit of the second
  likeliest token was below the taken one's, and which token it was.

An adapter for an outside implementation is such a program; in Python, it may import `serve` from here.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

_HERE = Path(__file__).parent
SIDES = {"engine": _HERE / "engine_side.py", "plain": _HERE / "plain_side.py"}
"""The programs of this engine and of the plain reference."""

# Freed memory goes back to the system at once, so that a peak is that of the call and not of one before it.
RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
# As the Makefile has it: kept memory is faster.
KEEPING = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824"}


class Side(Protocol):
    """What a side can do; see the module's text for messages and answers."""

    def load(self, **message: Any) -> dict[str, Any]:
        """Load a model and the cases of a dataset."""

    def run(self, **message: Any) -> dict[str, Any]:
        """Edit and evaluate."""


def serve(side: Side) -> None:
    """Answer messages until the input ends; what is printed meanwhile goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        message = json.loads(line)
        answer = getattr(side, message.pop("do"))(**message)
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """A side's process.

    Args:
        script: the side's program; Python files are run by this interpreter.
        threads: that it may use.
        counting: whether memory is measured, and not time.
    """

    def __init__(self, script: Path, threads: int, *, counting: bool) -> None:
        command = [sys.executable, str(script)] if script.suffix == ".py" else [str(script)]
        environment = os.environ | (RETURNING if counting else KEEPING) | {"OMP_NUM_THREADS": str(threads)}
        self._script = script
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message and return the answer.

        Raises:
            RuntimeError: the process has ended; it has said why on standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which the missing answer tells
            print(json.dumps(message), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._script}: ended without an answer to {message['do']!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()
