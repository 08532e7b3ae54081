"""From what was measured to figures per case, ratios with their targets, a table and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from equality import difference

CODEBOOKS = ("grace", "a_grace", "a_grace_wo_cl", "a_grace_wo_mean")
TOTAL = ("edit", "both")
# Rows that are taken together, what is compared, and how many times the plain reference's speed is asked for.
TARGETS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], float], ...] = (
    ("GRACE, A-GRACE and its ablations", CODEBOOKS, TOTAL, 10),
    ("FT-L", ("ft_l",), TOTAL, 6),
    ("MALMEN", ("malmen",), TOTAL, 6),
    ("ROME", ("rome",), TOTAL, 4),
    ("MEMIT", ("memit",), TOTAL, 4),
    ("PMET", ("pmet",), TOTAL, 4),
    *((f"evaluation of {name}", (name,), ("both",), 10.0) for name in ("none", "ft_l", "rome", "memit")),
    *((f"evaluation of {name}", (name,), ("both",), 10.0) for name in ("pmet", "malmen", *CODEBOOKS)),
)
MEMORY = 1.5
"""Of a single case's peak, what a batch may take beside what it holds itself."""
WHOLE = ("all rows of the study", 5, 10)
"""What the study as a whole is to reach, in float32 and in reduced precision."""

LABELS = {"edit": "edit", "evaluation": "greedy evaluation", "fluency": "fluency"}


def per_case(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return one line for each dataset, row and way of running: what a case takes, the median over the runs.

    Columns: seconds of edit, evaluation, fluency and both of these; operations and tokens of edit and of
    both; peak memory in MB above the loaded model, of edit and of both. What wasn't measured is NaN.
    """
    lines: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for one in found["measured"]:
        line = lines.setdefault((one["dataset"], one["row"], one["way"]), {})
        for name, value in _figures(one).items():
            line.setdefault(name, []).append(value)
    frame = pd.DataFrame(
        [
            {"dataset": key[0], "row": key[1], "way": key[2]}
            | {name: median(values) for name, values in line.items()}
            for key, line in lines.items()
        ]
    )
    return frame.reindex(columns=[*frame.columns, *(set(_COLUMNS) - set(frame.columns))])


_COLUMNS = ("edit", "evaluation", "fluency", "both", "edit_flops", "both_flops", "edit_memory")


def _figures(one: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures per case of one measurement."""
    cases, parts = one["cases"], _completed(one["parts"])
    if one["run"] != "counted":
        return {name: part["seconds"] / cases for name, part in parts.items()}
    found = {}
    for name in TOTAL:
        for what in ("flops", "tokens"):
            if parts[name][what] is not None:
                found[f"{name}_{what}"] = parts[name][what] / cases
        if parts[name]["peak_memory_mb"] is not None:
            found[f"{name}_memory"] = parts[name]["peak_memory_mb"]
    return found


def _completed(parts: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Add the parts that follow from the others: evaluation and fluency are `both`; no edit takes nothing."""
    nothing = {"seconds": 0.0, "peak_memory_mb": 0.0, "flops": 0, "tokens": 0.0}
    full = dict.fromkeys(("edit", "evaluation", "fluency"), nothing) | dict(parts)
    names = ("seconds", "flops", "tokens")
    if "both" in full:
        rest = {name: _sum(full["both"][name], full["evaluation"][name], -1) for name in names}
        full["fluency"] = rest | {"peak_memory_mb": full["both"]["peak_memory_mb"]}
    else:
        sums = {name: _sum(full["evaluation"][name], full["fluency"][name]) for name in names}
        peaks = [full[part]["peak_memory_mb"] for part in ("evaluation", "fluency")]
        full["both"] = sums | {"peak_memory_mb": None if None in peaks else max(peaks)}
    return full


def _sum(first: float | None, second: float | None, sign: int = 1) -> float | None:
    return None if first is None or second is None else first + sign * second


def ratios(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the targets with what was measured, for those whose rows were run.

    Each has ``name``, ``target``, ``ratios`` by dataset, the ``ratio`` over all datasets, ``bound``: the
    ratio that would be if the counted operations ran at the speed of the machine's fastest matrix product,
    and ``share``: the part of that speed that is reached.
    """
    about = found["about"]
    frame = per_case(found).set_index(["row", "way", "dataset"]).sort_index()
    rows = {row for row, _, _ in frame.index}
    name, exact, less_exact = WHOLE
    wanted = [(*one, "together", about["compute"]["dtype"]) for one in TARGETS if set(one[1]) <= rows]
    if rows >= {row for _, members, _, _ in TARGETS for row in members}:
        whole = (tuple(sorted(rows)), TOTAL)
        wanted.append((name, *whole, exact, "together", about["compute"]["dtype"]))
        if about["reduced"] is not None:
            wanted.append((f"{name}, {about['reduced']}", *whole, less_exact, "reduced", about["reduced"]))
    return [
        {"name": name, "target": target} | _ratio(frame, members, parts, way, about["matmul_peak"][dtype])
        for name, members, parts, target, way, dtype in wanted
    ]


def _ratio(
    frame: pd.DataFrame, members: Sequence[str], parts: Sequence[str], way: str, peak: float
) -> dict[str, Any]:
    """Compare the plain reference with a way of running, in the parts of some rows; see `ratios`."""
    plain = frame.loc[list(members)].xs("plain", level="way")[list(parts)].sum(axis=1)
    ours = frame.loc[list(members)].xs(way, level="way")
    seconds = ours[list(parts)].sum(axis=1)
    operations = ours[[f"{part}_flops" for part in parts]].sum(axis=1)
    by_dataset = plain.groupby(level="dataset").sum() / seconds.groupby(level="dataset").sum()
    return {
        "ratios": by_dataset.to_dict(),
        "ratio": plain.sum() / seconds.sum(),
        "bound": plain.sum() / (operations.sum() / peak),
        "share": operations.sum() / seconds.sum() / peak,
    }


def memory(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return where batches need the most memory in proportion to what they may need, the model included.

    A batch may take `MEMORY` times a single case's peak and, for what it holds itself, for each further case
    as much as the single one takes beside the model.

    Returns:
        ``row`` and ``dataset``, the peaks ``together`` and ``alone`` in MB and their ``ratio``, what is
        ``allowed`` in MB, and the number of ``cases`` in the batch.
    """
    about, frame = found["about"], per_case(found).set_index(["dataset", "row", "way"])
    peaks = (frame[["edit_memory", "both_memory"]].max(axis=1) + about["model_mb"]).unstack("way")
    together = max(one["cases"] for one in found["measured"] if one["way"] == "together")
    cases = min(together, about["compute"]["batch_cases"])
    peaks["ratio"] = peaks["together"] / peaks["alone"]
    peaks["allowed"] = MEMORY * peaks["alone"] + (cases - 1) * (peaks["alone"] - about["model_mb"])
    dataset, row = (peaks["together"] / peaks["allowed"]).sort_values().index[-1]
    return {"dataset": dataset, "row": row, "cases": cases, **peaks.loc[dataset, row]}


def terminal(found: Mapping[str, Any]) -> str:
    """Return tables for the terminal: figures per case, then targets beside ratios, then the equality."""
    frame = per_case(found).sort_values(["dataset", "row", "way"])
    shown = ["dataset", "row", "way", *LABELS, "both", "edit_flops", "both_flops", "edit_memory"]
    table = frame[shown].assign(
        edit_flops=frame["edit_flops"] / 1e9,
        both_flops=frame["both_flops"] / 1e9,
    )
    parts = [table.to_string(index=False, float_format=lambda value: f"{value:.3f}")]
    lines = [f"{'':36} {'target':>7} {'measured':>9} {'bound':>7} {'of peak':>8}"]
    for one in ratios(found):
        figures = f"{one['target']:7.0f} {one['ratio']:9.1f} {one['bound']:7.1f} {one['share']:8.0%}"
        lines.append(f"{one['name']:36} {figures}{'' if one['ratio'] >= one['target'] else '  missed'}")
    most = memory(found)
    lines.append(
        f"memory, where it is nearest to its limit: {most['together']:.0f} MB together, {most['alone']:.0f}"
        f" alone, {most['allowed']:.0f} allowed ({most['row']}, {most['dataset']})"
        f"{'' if most['together'] <= most['allowed'] else '  missed'}"
    )
    equal = [
        f"{one['dataset']} {one['row']} {one['way']}: {one['cases_differing']} of {one['cases']} cases differ"
        + "".join(f"\n  {each['case']}, {difference(each)}" for each in one["differing"])
        for one in found["equality"]
        if one["differing"]
    ]
    parts += ["\n".join(lines), "\n".join(equal) or "all greedy outputs are the plain reference's"]
    return "\n\n".join(parts)


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Draw what a case takes, by row, dataset and way of running."""
    matplotlib.rcParams["svg.hashsalt"] = "clme"
    frame = per_case(found)
    datasets, ways = frame["dataset"].unique(), frame["way"].unique()
    size, shape = (4.5 * len(datasets) + 2, 4.5), (1, len(datasets))
    figure, axes = plt.subplots(*shape, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, dataset in zip(axes[0], datasets, strict=True):
        part = frame[frame["dataset"] == dataset]
        rows = list(dict.fromkeys(part["row"]))
        height = 0.8 / len(ways)
        for number, way in enumerate(ways):
            lines = part[part["way"] == way].set_index("row").reindex(rows)
            places = [place + (number - (len(ways) - 1) / 2) * height for place in range(len(rows))]
            left = pd.Series(0.0, index=rows)
            for shade, (name, label) in enumerate(LABELS.items()):
                values = lines[name].fillna(0).clip(lower=0)
                color = matplotlib.colormaps["tab20c"](4 * number + shade)
                axis.barh(places, values, height, left=left, color=color, label=f"{way}: {label}")
                left += values
        axis.set(title=dataset.upper(), xlabel="seconds per case", yticks=range(len(rows)), yticklabels=rows)
    axes[0, 0].invert_yaxis()
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside right upper", fontsize="x-small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
