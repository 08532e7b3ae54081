"""The baseline job: what the unedited model says to each case, once for all editors."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from clme.edits import Edit
from clme.errors import UserError
from clme.files import read_metadata, read_parquet, write_parquet
from clme.study.batches import BatchRun
from clme.study.cases import EncodedCase
from clme.study.evaluate import Outputs
from clme.study.jobs import file_metadata, identity, load
from clme.study.journal import Journal
from clme.study.schema import BASELINE
from clme.study.settings import BaselineSettings


def run(model: Path, cases: Path, settings: BaselineSettings, journals: Path, output: Path) -> None:
    """Compute the unedited outputs of the selected cases and write them as Parquet.

    Raises:
        UserError: an input can't be used, or the output can't be written.
    """
    about = identity(settings, model, {"cases": cases}, [__name__])
    loaded = load(model, cases, settings)
    evaluator = loaded.evaluator(settings)
    label = f"baseline {settings.model}/{settings.dataset}"
    with Journal(journals, about) as journal:

        def outputs(batch: list[EncodedCase]) -> dict[str, Any]:
            found = evaluator.run(batch, [Edit()] * len(batch), None)
            return {case.case.case_id: asdict(one) for case, one in zip(batch, found, strict=True)}

        # Nothing is optimised: reading alone limits the batches.
        device = loaded.decoder.device
        batches = BatchRun(label, journal, settings.compute, "read_tokens", device, outputs)
        results = batches.run(loaded.cases)
        rows = [{"case_id": case.case.case_id, **results[case.case.case_id]} for case in loaded.cases]
        metadata = file_metadata(about, loaded.decoder)
        journal.check()
        write_parquet(output, pd.DataFrame(rows), schema=BASELINE, metadata=metadata)


def read(path: Path, expected: dict[str, str]) -> dict[str, Outputs]:
    """Read a baseline: outputs by case.

    Args:
        path: the file.
        expected: metadata that it must have, such as the checksum of the cases.

    Raises:
        UserError: it was made from another model, other cases or under another protocol.
    """
    frame = read_parquet(path, schema=BASELINE)
    metadata = read_metadata(path)
    for name, value in expected.items():
        if metadata.get(name) != value:
            raise UserError(
                f"{path}: was made with another {name} ({metadata.get(name)}, now {value}); rerun its rule"
            )
    return {
        str(record["case_id"]): Outputs(_ids(record["greedy"]), _ids(record["sampled"]))
        for record in frame.to_dict("records")
    }


def _ids(lists: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, ids)) for ids in lists)
