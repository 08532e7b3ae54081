"""Columns of the files between the stages of a dataset's construction."""

import pyarrow as pa

PAIRS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("input", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
    ]
)
"""The unit of the pipeline: what the model is asked (CNLE an intent, CSNE a function) and what it is to say.
`split` is the source's own (train or test; empty if it has none), `origin` says where the pair comes from."""

GRADED = PAIRS.append(pa.field("similarity", pa.float64())).append(
    pa.field("grade", pa.string(), nullable=False)
)
"""The similarity is null where a service graded."""

SPLIT = PAIRS.append(pa.field("targeted", pa.bool_(), nullable=False))
MEMBERS = pa.schema([SPLIT.field("pair_id"), SPLIT.field("targeted")])
"""Of `SPLIT`, which pairs are targeted."""

REPHRASES = pa.schema(
    [pa.field("pair_id", pa.string(), nullable=False), pa.field("rephrase", pa.string(), nullable=False)]
)

NEIGHBOURS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("neighbour_ids", pa.list_(pa.string()), nullable=False),
        pa.field("similarities", pa.list_(pa.float64()), nullable=False),
    ]
)

UNEDITED = pa.schema(
    [
        pa.field("case_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("outputs", pa.list_(pa.string()), nullable=False),
    ]
)
"""Unedited outputs that came with a dataset: what a model says to each neighbour of a case."""

CASES = pa.schema(
    [
        pa.field("case_id", pa.string(), nullable=False),
        pa.field("fold", pa.int8(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("rephrase", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("neighbours", pa.list_(pa.string()), nullable=False),
        pa.field("neighbour_ids", pa.list_(pa.string()), nullable=False),
        pa.field("neighbour_similarity", pa.list_(pa.float64()), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
    ]
)
"""The benchmark: one row per targeted pair, in seeded order; prompts have the template applied. Cases of the
authors' archive have no neighbours' ids and similarities."""
