"""A little dataset, and what editors need on it, made by the package's own preparation."""

from pathlib import Path

import numpy as np
import pandas as pd

from clme.datasets.schema import CASES
from clme.datasets.texts import TEXTS as TEXT_COLUMNS
from clme.files import write_parquet
from clme.models.text import Tokenizer
from clme.study import prepare
from clme.study.cases import encode, read_cases
from clme.study.needs import KINDS
from clme.study.settings import Compute, MomentsSettings, PrepareSettings, Selection, Training

TEXT = """sort the list of names by length and print each one where it ends with a dot then open file read
lines into dict count them return total or raise error if path missing join key value pairs"""
TEXTS = [" ".join(np.random.default_rng(number).choice(TEXT.split(), 12)) for number in range(60)]
MOMENTS = MomentsSettings(corpus="packages", samples=len(TEXTS), max_tokens=32)


def write_cases(path: Path, count: int = 12, folds: int = 2, neighbours: int = 2, seed: int = 0) -> Path:
    """Write a dataset of random words; a rephrase shares most of its prompt's words."""
    random = np.random.default_rng(seed)

    def text(words):
        return " ".join(random.choice(TEXT.split(), words))

    rows = []
    for number in range(count):
        intent = text(6)
        rows.append(
            {
                "case_id": f"case-{number}",
                "fold": number % folds,
                "prompt": f"Intent: {intent}\nCode:",
                "rephrase": f"Intent: {intent} {text(1)}\nCode:",
                "target": text(2 + number % 3),
                "neighbours": [f"Intent: {text(4)}\nCode:" for _ in range(neighbours)],
                "neighbour_ids": [f"n{number}-{n}" for n in range(neighbours)],
                "neighbour_similarity": [0.5] * neighbours,
                "origin": "test",
            }
        )
    write_parquet(path, pd.DataFrame(rows), schema=CASES, metadata={})
    return path


def settings(editor, need, *, fold=0, compute=None, evaluation=None, training=None):
    """Settings of the job that makes what an editor needs."""
    scope = KINDS[need.kind].scope
    study = MOMENTS.model_dump() if need.kind == "moments" else {}
    return PrepareSettings(
        model="tiny",
        need={**need.settings, **study},
        dataset=None if scope == "model" else "words",
        fold=fold if scope in ("fold", "editor") else None,
        editor=editor.name if scope == "editor" else None,
        compute=compute or Compute(batch_cases=3),
        evaluation=evaluation or Selection(),
        training=training or Training(),
    )


def make(editor, model: Path, cases: Path, folder: Path, *, fold: int = 0, **options) -> dict[str, Path]:
    """Make all that an editor needs, the state last; returns the files by kind."""
    files: dict[str, Path] = {}
    texts = folder / "texts.parquet"
    write_parquet(texts, pd.DataFrame({"text": TEXTS}), schema=TEXT_COLUMNS, metadata={})
    for need in sorted(editor.needs(), key=lambda need: KINDS[need.kind].scope == "editor"):
        scope = KINDS[need.kind].scope
        shared = {kind: path for kind, path in files.items() if KINDS[kind].scope in ("model", "dataset")}
        made_from = {
            "moments": {"texts": texts},
            "fired": {"values": files.get("values")},
            "vectors": {"contexts": files.get("contexts")},
        }
        files[need.kind] = folder / f"{need.kind}.{need.digest}.fold{fold}.safetensors"
        prepare.run(
            need.kind,
            model,
            None if scope == "model" else cases,
            made_from.get(need.kind, shared if scope == "editor" else {}),
            settings(editor, need, fold=fold, **options),
            folder / "journals",
            files[need.kind],
        )
    return files


def encoded(model: Path, decoder, cases: Path):
    """The cases in a model's tokens."""
    return encode(read_cases(cases), Tokenizer.load(model), decoder.max_tokens, cases)
