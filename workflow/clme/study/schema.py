"""Columns of the study's result files."""

import pyarrow as pa

_IDS = pa.list_(pa.int32())

BASELINE = pa.schema(
    [
        pa.field("case_id", pa.string(), nullable=False),
        pa.field("greedy", pa.list_(_IDS), nullable=False),
        pa.field("sampled", pa.list_(_IDS), nullable=False),
        pa.field("verified", pa.int32(), nullable=False),
        pa.field("generated", pa.int32(), nullable=False),
    ]
)
"""Unedited outputs as token ids: of the prompt, the rephrase and each neighbour; samples of the first two."""

DIMENSIONS = ("effectiveness", "generalization", "specificity")
SIMILARITIES = ("em", "bleu", "bleu_effective", "rougeL")

METRIC_COLUMNS = (
    *(f"{dimension}_{metric}" for dimension in DIMENSIONS for metric in SIMILARITIES),
    "specificity_em_mean",
    "specificity_em_all",
    "fluency",
)

_TEXTS = pa.list_(pa.string())

EDITS = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("model", "dataset", "editor")),
        pa.field("fold", pa.int8(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("case_id", "status", "error")),
        *(pa.field(name, pa.string(), nullable=False) for name in ("prompt", "rephrase", "target")),
        *(pa.field(f"{name}_output", pa.string(), nullable=False) for name in DIMENSIONS[:2]),
        *(pa.field(name, _TEXTS, nullable=False) for name in ("specificity_outputs", "specificity_expected")),
        pa.field("fluency_texts", _TEXTS, nullable=False),
        *(pa.field(name, pa.float64(), nullable=name == "fluency") for name in METRIC_COLUMNS),
        pa.field("edit_steps", pa.int32(), nullable=False),
        pa.field("edit_loss", pa.float64()),
        pa.field("edit_seconds", pa.float64()),
        pa.field("peak_memory_mb", pa.float64()),
        pa.field("tokens_verified", pa.int32(), nullable=False),
        pa.field("tokens_generated", pa.int32(), nullable=False),
    ]
)
"""One row per case. Metrics are in 0..1, fluency in bits; time and memory are null for cases that were not
measured, the loss for editors without one, fluency where no texts were sampled. `status` is ok or failed; a
failed edit leaves the model as it is, so its row holds the unedited outputs, and `error` says why."""

METRICS = pa.schema(
    [
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("protocol", "model", "dataset", "editor", "dimension", "metric")
        ),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("value", "low", "high")),
        pa.field("cases", pa.int32(), nullable=False),
        pa.field("failed", pa.int32(), nullable=False),
    ]
)
"""Long form in the paper's units (percent, fluency x 100) with 95% bootstrap intervals."""
