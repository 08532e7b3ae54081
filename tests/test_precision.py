import sys

import pandas as pd
import pytest

from clme.errors import UserError
from clme.study.schema import METRICS
from workflows import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import precision


def metrics(**values):
    """The exact match of some editors on one dataset, with intervals of 10 on either side."""
    frame = pd.DataFrame({"editor": list(values), "value": list(values.values())})
    fixed = {"protocol": "paper", "model": "m", "dataset": "cnle", "dimension": "effectiveness"}
    frame = frame.assign(**fixed, metric="em", low=frame["value"] - 10, high=frame["value"] + 10)
    return frame.assign(cases=20, failed=0)[METRICS.names]


def test_cells_are_within_the_interval_of_float32_or_not():
    found = precision.cells(metrics(rome=50.0, grace=90.0), metrics(rome=61.0, grace=85.0))
    assert dict(zip(found["editor"], found["within"], strict=True)) == {"rome": False, "grace": True}


def test_cells_of_one_study_alone_are_refused():
    with pytest.raises(UserError, match="m/cnle/rome/effectiveness/em: only in one"):
        precision.cells(metrics(rome=50.0, grace=90.0), metrics(grace=90.0))
