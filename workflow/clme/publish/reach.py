"""What generalization lacks: a key that isn't reached, or a value that doesn't carry to the rephrase."""

import pandas as pd

from clme.publish import names
from clme.publish.results import Results
from clme.publish.tables import Cell, Row, Table, number

KEYS = {"grace": "last", "a_grace_wo_cl": "mean", "a_grace": "encoded"}
"""Which of the measured keys an editor's codebook has."""
PARTS = ("fires", "exact", "by_key", "by_value")


def table_keys(results: Results) -> Table:
    """Of the rephrases: where the codebook fires, where the answer is exact, and why it isn't elsewhere."""
    editors = [name for name in names.in_order(set(KEYS)) if name in results.study.editor_names]
    datasets = results.datasets
    head = (
        (Cell(""), *(Cell(label, span=len(PARTS)) for label in datasets.values())),
        (Cell("Editor"), *map(Cell, ("Fires", "EM", "Key", "Value") * len(datasets))),
    )
    sections = tuple(tuple(_row(results, model, editor) for editor in editors) for model in results.models)
    notes = (
        "In percent of the cases. Fires: the rephrase's key is within the radius of the request's. EM: the"
        " answer to the rephrase is exact. Key and Value part the others: the codebook doesn't fire, or it"
        " does and the value doesn't make the model say the target.",
    )
    caption = "What generalization lacks: the key or the value."
    return Table("table_keys", caption, head, sections, notes, groups=tuple(results.models.values()))


def _row(results: Results, model: str, editor: str) -> Row:
    cells = [Cell(names.editor(editor))]
    for dataset in results.datasets:
        found = parts(results.distances(model, dataset), results.edits(model, dataset, editor), editor)
        cells += [number(100 * found[part], 1) for part in PARTS]
    return tuple(cells)


def parts(distances: pd.DataFrame, edits: pd.DataFrame, editor: str) -> dict[str, float]:
    """Return the parts of the cases, by the names of `PARTS`; all but the first add up to 1.

    Args:
        distances: schema DISTANCES.
        edits: schema EDITS, of one editor on the same cases.
        editor: one of `KEYS`.
    """
    chosen = distances[distances["key"] == KEYS[editor]].set_index("case_id")
    fires = (chosen["to_rephrase"] <= chosen["radius"]).reindex(edits["case_id"]).to_numpy(dtype=bool)
    exact = edits["generalization_em"].to_numpy(dtype=float) == 1
    return {
        "fires": float(fires.mean()),
        "exact": float(exact.mean()),
        "by_key": float((~fires & ~exact).mean()),
        "by_value": float((fires & ~exact).mean()),
    }
