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

MEASURES = {
    column: ("fluency", "ngram_entropy_x100") if column == "fluency" else tuple(column.split("_", 1))
    for column in METRIC_COLUMNS
}
"""The dimension and the metric that each of the columns holds."""

SHOWN = (
    *(f"{dimension}_{metric}" for dimension in DIMENSIONS for metric in ("em", "bleu", "rougeL")),
    "fluency",
)
"""The columns that the paper's tables show, in their order."""

PAPER_UNIT = 100
"""Scores are in 0..1 and fluency in bits; the paper, and all that is aggregated, has them times this."""

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

SCORES = pa.schema(
    [
        EDITS.field(name)
        for name in ("model", "dataset", "editor", "fold", "case_id", "status", *METRIC_COLUMNS)
    ]
)
"""The part of EDITS that statistics are about."""

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

_COMPARED = ("protocol", "model", "dataset", "dimension", "metric", "editor", "other")

COMPARISONS = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in _COMPARED),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("difference", "low", "high")),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("p", "p_adjusted")),
        pa.field("cases", pa.int32(), nullable=False),
    ]
)
"""Paired differences, `editor` minus `other`, in the paper's units with 95% bootstrap intervals; `model` is
``*`` for all models together. `p` is of a paired test, `p_adjusted` is Holm's for all comparisons in the same
dimension and metric."""

STRATA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("model", "dataset", "editor", "factor")),
        pa.field("stratum", pa.int8(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("least", "most")),
        *(pa.field(name, pa.string(), nullable=False) for name in ("dimension", "metric")),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("value", "low", "high")),
        pa.field("cases", pa.int32(), nullable=False),
    ]
)
"""Metrics of parts of a dataset's cases. A stratum holds the cases whose `factor` is from `least` to `most`;
the strata of a factor are numbered upwards and of like size."""

_NUMBERS = pa.list_(pa.float64())

DISTANCES = pa.schema(
    [
        pa.field("case_id", pa.string(), nullable=False),
        pa.field("fold", pa.int8(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("radius", "to_rephrase")),
        *(pa.field(name, _NUMBERS, nullable=False) for name in ("to_neighbours", "x", "y")),
    ]
)
"""One row per case and kind of key (last, mean or encoded): Euclidean distances of the request's key to the
others', and all the case's keys in the plane of their first two principal components, in the order request,
rephrase, neighbours."""

TRAINING = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("model", "dataset", "editor")),
        pa.field("fold", pa.int8(), nullable=False),
        pa.field("step", pa.float64(), nullable=False),
        pa.field("quantity", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""What was measured while editors trained, in training steps or epochs; quantities are the editors' own."""
