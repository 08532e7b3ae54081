"""A results folder as a run leaves it, with made-up rows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from clme.datasets.schema import CASES
from clme.files import write_parquet, write_text
from clme.study import aggregate, compare, strata
from clme.study.config import StudyConfig
from clme.study.schema import DIMENSIONS, DISTANCES, EDITS, TRAINING

PUBLISHED = Path(__file__).parents[2] / "paper/published"
SHA = "0" * 64
LEVELS = ("Very Irrelevant", "Irrelevant", "Neutral", "Relevant", "Very Relevant")
WORDS = ("read", "the", "lines", "of", "a", "file", "into", "list", "and", "return", "sorted", "values")
RATES = {
    "none": (0.02, 0.01, 1.0),
    "ft_l": (0.3, 0.15, 0.5),
    "rome": (0.6, 0.5, 0.05),
    "memit": (0.3, 0.3, 0.02),
    "pmet": (0.4, 0.35, 0.03),
    "malmen": (0.1, 0.1, 0.01),
    "grace": (0.95, 0.01, 0.92),
    "a_grace": (0.95, 0.7, 0.5),
    "a_grace_wo_cl": (0.94, 0.01, 0.93),
    "a_grace_wo_mean": (0.93, 0.02, 0.91),
}
"""Effectiveness, generalization and specificity that the rows are drawn with."""

SECONDS = {"ft_l": 4, "rome": 6, "memit": 11, "pmet": 12, "malmen": 2, "grace": 3}


def study(models=("tiny",), editors=("none", "ft_l", "grace"), **changes) -> StudyConfig:
    """Return a study's configuration."""
    raw = {
        "study": "synthetic",
        "editors": list(editors),
        "encoders": {"minilm": {"source": "path:/encoder"}},
        "datasets": {
            "cnle": {"task": "cnle", "source": "pypi", "encoder": "minilm"},
            "csne": {"task": "csne", "source": "pypi", "encoder": "minilm"},
        },
        "models": {name: {"source": "path:/model", "label": name.capitalize()} for name in models},
    }
    return StudyConfig.model_validate(raw | changes)


def write(folder: Path, config: StudyConfig | None = None, cases: int = 12, timed: int = 6) -> Path:
    """Write a results folder: study.json, edits, metrics.parquet, benchmarks."""
    config = config or study()
    write_text(folder / "study.json", config.model_dump_json())
    paths = []
    for model in config.models:
        for dataset in config.datasets:
            for editor in config.editor_names:
                for fold in range(config.folds):
                    path = folder / "edits" / model / dataset / editor / f"fold{fold}.parquet"
                    ids = [number for number in range(cases) if number % config.folds == fold]
                    rows = [_row(model, dataset, editor, fold, number, number < timed) for number in ids]
                    write_parquet(
                        path,
                        pd.DataFrame(rows),
                        schema=EDITS,
                        metadata=metadata(config, model, dataset, editor),
                    )
                    paths.append(path)
    tables = {name: _cases(folder / "datasets" / name, name, cases) for name in config.datasets}
    _statistics(folder, config, cases)
    aggregate.run(paths, config.seed, folder / "metrics.parquet")
    compare.run(paths, config.seed, folder / "comparisons.parquet")
    strata.run(paths, tables, config.seed, folder / "strata.parquet")
    write_parquet(
        folder / "training.parquet",
        pd.DataFrame(_training(config), columns=TRAINING.names),
        schema=TRAINING,
        metadata={},
    )
    write_text(
        folder / "benchmarks" / "edit" / "tiny.cnle.grace.fold0.tsv",
        "s\th:m:s\tmax_rss\tmax_vms\n61.5\t0:01:01\t812.25\t900\n",
    )
    return folder


def _statistics(folder: Path, config: StudyConfig, cases: int) -> None:
    """Write what datasets say of themselves, and distances where a study has A-GRACE."""
    roles = ("effectiveness_input", "generalization_input", "specificity_input", "edit_target")
    for dataset, settings in config.datasets.items():
        graded = settings.task == "cnle"
        passed = {"extract": 900, "filter": 800, **({"grade": 500} if graded else {}), "deduplicate": 480}
        passed |= {"targeted": 80, "non_targeted": 400, "cases": cases}
        grades = dict.fromkeys(LEVELS[:-1], 75) | {LEVELS[-1]: 500} if graded else None
        lengths = [{"role": role, "mean": 12.5, "median": 11.0, "count": cases} for role in roles]
        answers = {"role": "specificity_target", "mean": 17.5, "median": 16.0, "count": 5 * cases}
        place = folder / "datasets" / dataset
        write_text(place / "stages.json", json.dumps(passed))
        write_text(place / "statistics.json", json.dumps({"grades": grades, "lengths": lengths}))
        write_text(place / "answers.json", json.dumps(answers))
        for model in config.models if "a_grace" in config.editor_names else ():
            rows = [row for number in range(cases) for row in _distances(dataset, number)]
            path = folder / "distances" / model / f"{dataset}.parquet"
            write_parquet(path, pd.DataFrame(rows), schema=DISTANCES, metadata={})


def _training(config):
    """A curve for each editor that trains: the values rise with the steps."""
    quantities = {
        "malmen": ("effectiveness", "generalization", "specificity"),
        "a_grace": ("rephrases", "neighbours"),
        "a_grace_wo_mean": ("rephrases", "neighbours"),
    }
    for model in config.models:
        for dataset in config.datasets:
            for editor in quantities.keys() & set(config.editor_names):
                for fold in range(config.folds):
                    about = {"model": model, "dataset": dataset, "editor": editor, "fold": fold}
                    for number, quantity in enumerate(quantities[editor]):
                        for step in range(0, 100, 20):
                            value = (0.2 + 0.1 * number) * (1 + step / 100)
                            yield {**about, "step": step, "quantity": quantity, "value": value}


def _distances(dataset, number):
    random = np.random.default_rng(number)
    for key, near in (("last", 2.0), ("mean", 1.0), ("encoded", 0.4)):
        yield {
            "case_id": f"{dataset}-{number:05}",
            "fold": number % 2,
            "key": key,
            "radius": 1.0,
            "to_rephrase": near * random.gamma(8) / 8,
            "to_neighbours": 2 * random.gamma(8, size=5) / 8,
            "x": random.normal(size=7),
            "y": random.normal(size=7),
        }


def _cases(folder: Path, dataset: str, count: int) -> Path:
    rows = [
        {
            **{name: row[name] for name in ("case_id", "fold", "prompt", "rephrase", "target")},
            "neighbours": [f"neighbour {neighbour}" for neighbour in range(5)],
            "neighbour_ids": list("abcde"),
            "neighbour_similarity": [0.9 - 0.01 * number - 0.05 * neighbour for neighbour in range(5)],
            "origin": "a synthetic source",
        }
        for number in range(count)
        for row in [_row("tiny", dataset, "none", number % 2, number, False)]
    ]
    path = folder / "cases.parquet"
    write_parquet(path, pd.DataFrame(rows), schema=CASES, metadata={})
    return path


def metadata(config: StudyConfig, model: str, dataset: str, editor: str) -> dict[str, str]:
    """Return what an edit job says about itself."""
    return {
        "protocol": config.protocol,
        "seed": str(config.seed),
        "cases_sha256": SHA,
        "model_manifest_sha256": SHA,
        "source_hash": "0" * 16,
        "clme_version": "0",
        "versions": json.dumps({"python": "3.11", "torch": "2"}),
        "hardware": json.dumps({"processor": "abacus", "device": "cpu"}),
        "settings": json.dumps(
            {
                "model": model,
                "dataset": dataset,
                "editor": editor,
                "evaluation": config.evaluation.model_dump(),
                "compute": config.compute.model_dump(),
            }
        ),
    }


def _row(model, dataset, editor, fold, number, timed):
    random = np.random.default_rng([sum(map(ord, model + dataset + editor)), number])
    case = np.random.default_rng([sum(map(ord, dataset)), number])
    words = list(case.choice(WORDS, size=6 + number % 30))
    target = " ".join(words)
    found = RATES.get(editor, (0.5, 0.5, 0.5))
    hits = {name: float(random.random() < rate) for name, rate in zip(DIMENSIONS[:2], found, strict=False)}
    outputs = {
        name: target if hit else " ".join([*words[: number % 4], "print", "x"]) for name, hit in hits.items()
    }
    kept = random.random(5) < found[2]
    expected = [f"neighbour {neighbour} says" for neighbour in range(5)]
    failed = editor == "ft_l" and number == 3
    measured = timed and editor != "none"
    return {
        "model": model,
        "dataset": dataset,
        "editor": editor,
        "fold": fold,
        "case_id": f"{dataset}-{number:05}",
        "status": "failed" if failed else "ok",
        "error": "the loss is not a number" if failed else "",
        "prompt": f"Intent: {target[:30]} <b>&amp;</b>\nCode:",
        "rephrase": f"Intent: how to {target[:30]}\nCode:",
        "target": target,
        "effectiveness_output": outputs["effectiveness"],
        "generalization_output": outputs["generalization"],
        "specificity_outputs": [
            text if same else "something else" for text, same in zip(expected, kept, strict=True)
        ],
        "specificity_expected": expected,
        "fluency_texts": [f"{target} and so on", f"{target} and more"],
        **{
            f"{name}_{metric}": hits[name] if metric == "em" else 0.2 + 0.8 * hits[name]
            for name in DIMENSIONS[:2]
            for metric in ("em", "bleu", "bleu_effective", "rougeL")
        },
        **{f"specificity_{metric}": kept.mean() for metric in ("em", "bleu", "bleu_effective", "rougeL")},
        "specificity_em_mean": kept.mean(),
        "specificity_em_all": float(kept.all()),
        "fluency": 5 + random.normal(0, 0.2),
        "edit_steps": 0 if editor == "none" else 30,
        "edit_loss": None if editor == "none" else 0.01,
        "edit_seconds": SECONDS.get(editor, 3) * random.gamma(20, 1 / 20) if measured else None,
        "peak_memory_mb": 500 * random.gamma(20, 1 / 20) if measured else None,
        "tokens_verified": 100,
        "tokens_generated": 200,
    }
