"""An editor that waits for orders before its second batch, so that tests say when something happens to a job.

Orders are files in `orders/LABEL` of the working directory:

- `hold`: wait for as long as it is there; `waiting` has a line for each process that does, and `told` is
  there once one of them has been told to stop;
- `take`: hold so many megabytes, till the process ends.

`edited` has a line for each batch that is begun. Without the folder it is FT-L.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from clme.editors.base import Failure, Request
from clme.editors.ft_l import FineTuning, FineTuningConfig
from clme.edits import Edit
from clme.models.decoder import Decoder
from clme.stopping import Stopped, heed


class HeldConfig(FineTuningConfig):
    """FT-L's hyperparameters, and where the orders are."""

    label: str = Field("", description="names the folder of orders")


class Held(FineTuning):
    """FT-L that waits for orders."""

    name = "held"
    Config = HeldConfig

    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """See the base class."""
        orders = Path("orders", self.config.label)
        if orders.is_dir():
            if (orders / "edited").exists():
                self._obey(orders)
            _note(orders / "edited", *(request.case_id for request in requests))
        return super().edit(decoder, requests)

    def _obey(self, orders: Path) -> None:
        if (orders / "hold").exists():
            _note(orders / "waiting", os.environ.get("SLURM_JOB_ID", ""), str(os.getpid()))
        if (orders / "take").exists():
            self._taken = b"x" * (int((orders / "take").read_text()) * 1_000_000)
        while (orders / "hold").exists():
            time.sleep(0.1)
            try:
                heed("")
            except Stopped:
                (orders / "told").touch()


def _note(path: Path, *words: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(" ".join(words) + "\n")
