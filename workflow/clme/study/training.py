"""How training went: the curves that editors' states carry, as one table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clme.errors import UserError
from clme.files import write_parquet
from clme.study.schema import TRAINING
from clme.tensors import read_tensor_metadata

_STEPS = ("step", "epoch")


def run(states: Sequence[Path], output: Path) -> None:
    """Write the curves of states that were made by `clme prepare state`.

    Args:
        states: files of one study.
        output: where the table goes, schema TRAINING.

    Raises:
        UserError: a file is missing or is no state.
    """
    rows = [row for path in states for row in _rows(path)]
    write_parquet(output, pd.DataFrame(rows, columns=TRAINING.names), schema=TRAINING, metadata={})


def _rows(path: Path) -> list[dict[str, object]]:
    metadata = read_tensor_metadata(path)
    try:
        settings, curve = metadata["settings"], metadata["curve"]
        about = {name: settings[name] for name in ("model", "dataset", "editor", "fold")}
        return [
            {**about, "step": record[step], "quantity": quantity, "value": value}
            for record in curve
            for step in _STEPS
            if step in record
            for quantity, value in record.items()
            if quantity != step
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: holds no training's curve ({error!r}); make it anew") from error
