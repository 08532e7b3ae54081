"""How long each rule of the workflow took, from Snakemake's benchmark files."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from clme.errors import UserError

TIMINGS = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),
        pa.field("wildcards", pa.string(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("peak_memory_mb", pa.float64()),
    ]
)
"""One row per finished job; memory is null where the job ended before it could be measured."""


def collect(benchmarks: Path) -> pd.DataFrame:
    """Read the benchmark files below a folder: ``{rule}.tsv`` and ``{rule}/{wildcards}.tsv``.

    Returns:
        Schema TIMINGS, in the order of the files' names.

    Raises:
        UserError: a file isn't one of Snakemake's.
    """
    rows = []
    for path in sorted(Path(benchmarks).glob("**/*.tsv")):
        parts = path.relative_to(benchmarks).with_suffix("").parts
        rule, wildcards = parts[0], "/".join(parts[1:])
        try:
            runs = pd.read_csv(path, sep="\t", na_values=["-", "NA"])[["s", "max_rss"]]
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: not a benchmark file of Snakemake ({error}); delete it") from error
        rows += [(rule, wildcards, *run) for run in runs.itertuples(index=False)]
    return pd.DataFrame(rows, columns=TIMINGS.names)


def by_rule(timings: pd.DataFrame) -> pd.DataFrame:
    """Return jobs, seconds and peak memory per rule, the longest first."""
    grouped = timings.groupby("rule").agg(
        jobs=("seconds", "size"), seconds=("seconds", "sum"), peak_memory_mb=("peak_memory_mb", "max")
    )
    return grouped.sort_values("seconds", ascending=False, kind="stable").reset_index()


def render(timings: pd.DataFrame) -> str:
    """Return how the time was spent per rule, as lines for a terminal."""
    rules = by_rule(timings)
    total = float(rules["seconds"].sum())
    lines = [f"{'rule':<16} {'jobs':>5} {'time':>9} {'share':>6} {'peak memory':>12}"]
    for row in rules.to_dict("records"):
        memory = "" if pd.isna(row["peak_memory_mb"]) else f"{row['peak_memory_mb']:,.0f} MB"
        share = row["seconds"] / total if total else 0.0
        lines.append(
            f"{row['rule']:<16} {row['jobs']:>5} {_clock(row['seconds']):>9} {share:>6.1%} {memory:>12}"
        )
    lines.append(f"{'all':<16} {len(timings):>5} {_clock(total):>9}")
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
