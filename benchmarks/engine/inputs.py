"""What the benchmark runs on: the study's own model, cases and editors, or tiny ones of the tests."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from clme.editors import registry
from clme.errors import UserError
from clme.evaluation.protocol import FLUENCY_TOKENS, FLUENCY_TOP_K, PROTOCOLS, SPECIFICITY_TOKENS
from clme.models.manifest import write_manifest
from clme.study import config as study_config
from clme.study import needs
from clme.study.cases import Case, read_cases, select
from clme.study.config import StudyConfig
from clme.study.settings import Compute

ROOT = Path(__file__).parents[2]
FOLD = 0
"""The fold whose cases are timed."""

# Their making is measured, so they aren't taken from a study's results.
_MEASURED = ("vectors", "values", "fired")


@dataclass(frozen=True)
class Dataset:
    """Cases and rows of one dataset.

    Attributes:
        name: the dataset's.
        fold: the number of the fold that the cases are of.
        task: ``cnle`` or ``csne``.
        cases: of one fold.
        rows: by name, see `protocol.py`.
    """

    name: str
    fold: int
    task: str
    cases: tuple[Case, ...]
    rows: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Inputs:
    """All that the sides are given.

    Attributes:
        model: the model's folder.
        label: its name.
        seed: the study's.
        protocol: the study's.
        compute: the study's.
        datasets: in the study's order.
        fluency: whether texts are sampled.
    """

    model: Path
    label: str
    seed: int
    protocol: str
    compute: Compute
    datasets: tuple[Dataset, ...]
    fluency: bool = True


def spread(cases: Sequence[Case], count: int) -> list[Case]:
    """Choose so many of the cases, evenly over their lengths, so that their mean is that of all."""
    ordered = sorted(cases, key=lambda case: (len(case.prompt) + len(case.target), case.case_id))
    count = min(count, len(ordered))
    return [ordered[int((number + 0.5) * len(ordered) / count)] for number in range(count)]


def loading(
    inputs: Inputs, dataset: Dataset, threads: int, *, counting: bool, sharing: bool = False
) -> dict[str, Any]:
    """Return the message that makes a side load a dataset, but for ``do``; see `protocol.py`."""
    beams = PROTOCOLS[inputs.protocol].fluency_beams
    fluency = {"tokens": FLUENCY_TOKENS, "top_k": FLUENCY_TOP_K, "beams": beams}
    texts = ("case_id", "prompt", "rephrase", "target", "neighbours")
    return {
        "model": str(inputs.model),
        "device": inputs.compute.device,
        "dtype": inputs.compute.dtype,
        "threads": threads,
        "seed": inputs.seed,
        "protocol": inputs.protocol,
        "task": dataset.task,
        "compute": inputs.compute.model_dump(),
        "fluency": fluency if inputs.fluency else None,
        "specificity_tokens": SPECIFICITY_TOKENS,
        "cases": [{name: getattr(case, name) for name in texts} for case in dataset.cases],
        "rows": dict(dataset.rows),
        "counting": counting,
        "sharing": sharing,
    }


def read_study(path: Path) -> StudyConfig:
    """Read a study's configuration, with all editors whatever it names.

    Raises:
        UserError: it has a mistake.
    """
    return study_config.load({**yaml.safe_load(path.read_text(encoding="utf-8")), "editors": "all"})


def needed(
    study: StudyConfig, model: str, datasets: Sequence[str], editors: Sequence[str], folds: Sequence[int]
) -> list[str]:
    """Return the files that the benchmark takes from the study's results."""
    found = {f"results/models/{model}/manifest.json"}
    for dataset, fold in product(datasets, folds):
        found.add(f"results/datasets/{dataset}/cases.parquet")
        for editor in editors:
            found |= set(_files(study, model, dataset, editor, fold).values())
    return sorted(found)


def _files(study: StudyConfig, model: str, dataset: str, editor: str, fold: int) -> dict[str, str]:
    paths = needs.paths(study, model, dataset, editor, str(fold))
    return {kind: path for kind, path in paths.items() if kind not in _MEASURED}


def of_study(
    study: StudyConfig,
    model: str,
    datasets: Sequence[str],
    editors: Sequence[str],
    folds: Sequence[int],
    count: int | None,
) -> Inputs:
    """Return a study's inputs; the cases are the first ones of each fold, or all of them.

    Raises:
        UserError: a file is missing.
    """
    wanted = needed(study, model, datasets, editors, folds)
    missing = [path for path in wanted if not (ROOT / path).exists()]
    if missing:
        raise UserError(f"{missing[0]}: missing, with {len(missing) - 1} more; `make bench` makes them")
    found = []
    for dataset, fold in product(datasets, folds):
        task = study.datasets[dataset].task
        chosen = select(read_cases(ROOT / f"results/datasets/{dataset}/cases.parquet"), study.evaluation)
        cases = [case for case in chosen if case.fold == fold][:count]
        rows = {}
        for editor in editors:
            files = _files(study, model, dataset, editor, fold)
            rows[editor] = {
                "editor": study.editor(editor),
                "hyperparameters": study.hyperparameters(model, editor, task),
                "files": {kind: str(ROOT / path) for kind, path in files.items()},
            }
        found.append(Dataset(dataset, fold, task, tuple(cases), rows))
    compute = study.compute.of_a_job()
    folder = ROOT / f"results/models/{model}"
    return Inputs(folder, model, study.seed, study.protocol, compute, tuple(found))


def of_tests(family: str, folder: Path, editors: Sequence[str], count: int, width: int = 64) -> Inputs:
    """Make a random model with cases and all that editors need; the hyperparameters are the tests'.

    Args:
        family: the model's: ``llama``, ``qwen2`` or ``stablelm``.
        folder: where all goes.
        editors: the rows.
        count: cases.
        width: of the hidden states; the feed-forward network has twice that.
    """
    sys.path.append(str(ROOT / "tests"))
    import prepared
    import tiny

    tiny.SIZES.update(hidden_size=width, intermediate_size=2 * width)
    model = tiny.build(family, folder / "model")
    write_manifest(model, {})
    path = prepared.write_cases(folder / "cases.parquet", count=2 * count, folds=2)
    smoke = study_config.load(
        yaml.safe_load((ROOT / "workflow/presets/smoke-editors.yaml").read_text(encoding="utf-8"))
    )
    compute = Compute(device="cpu", threads=1, batch_cases=8)
    rows = {}
    for name in editors:
        overrides = smoke.hyperparameters("tiny-llama", name, "cnle")
        editor = registry.configured(name, protocol="paper", task="cnle", overrides=overrides, seed=0)
        kept = tuple(need for need in editor.needs() if need.kind not in _MEASURED)
        asking = SimpleNamespace(name=name, needs=lambda kept=kept: kept)
        made = prepared.make(asking, model, path, folder / name)
        files = {kind: str(file) for kind, file in made.items()}
        rows[name] = {"editor": name, "hyperparameters": overrides, "files": files}
    cases = tuple(case for case in read_cases(path) if case.fold == FOLD)
    dataset = Dataset("words", FOLD, "cnle", cases, rows)
    return Inputs(model, f"tiny {family}", 0, "paper", compute, (dataset,))
