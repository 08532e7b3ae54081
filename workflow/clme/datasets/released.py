"""The authors' archive: finished cases of CLMEEval, with the outputs of the unedited models."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from clme.datasets.cases import TEMPLATES
from clme.datasets.settings import DatasetSettings
from clme.datasets.sources import Access, Material, Source
from clme.errors import UserError, first_line
from clme.files import sha256_file
from clme.locks import read_lock, record
from clme.progress import Progress
from clme.randomness import generator
from clme.transfers import fetch_file, fetch_json

RECORD = "12818365"
SUFFIXES = (".json", ".zip")
SHOWN_PROBLEMS = 5


class _Intent(BaseModel):
    intent: str


class _Function(BaseModel):
    code: str


class _IntentEdit(_Intent):
    snippet: str
    rewritten_intent: str


class _FunctionEdit(_Function):
    code_doc: str
    code_rewrite: str


class _Neighbours(BaseModel):
    items: Annotated[list[_Intent | _Function], Field(min_length=1)]
    answers: dict[str, list[str]] = {}


class _Case(BaseModel):
    case_id: int | str
    edit_request: _IntentEdit | _FunctionEdit
    neighborhoods: _Neighbours

    @property
    def task(self) -> str:
        return "cnle" if isinstance(self.edit_request, _IntentEdit) else "csne"

    @property
    def texts(self) -> tuple[str, str, str]:
        """Input, rephrase and target."""
        edit = self.edit_request
        if isinstance(edit, _IntentEdit):
            return edit.intent, edit.rewritten_intent, edit.snippet
        return edit.code, edit.code_rewrite, edit.code_doc


@dataclass(frozen=True)
class Archive:
    """What the archive holds of a task.

    Attributes:
        cases: schema CASES; the archive has no neighbours' ids and similarities.
        unedited: schema UNEDITED, the outputs of the unedited models on the neighbours.
        read: how many cases the archive has; those with an empty text are left out.
    """

    cases: pd.DataFrame
    unedited: pd.DataFrame
    read: int


class Released(Source):
    """Zenodo record 12818365, or its JSON files in a folder."""

    name = "released"
    tasks = ("cnle", "csne")

    def download(self, folder: Path, access: Access) -> None:
        """See the base class."""
        entry = f"zenodo:{RECORD}"
        known = read_lock(access.lock).get(entry)
        if known is None:
            revision, checksums = _ask(access.zenodo)
        else:
            revision = known["revision"]
            checksums = {name: f"sha256:{sha256}" for name, sha256 in known["files"].items()}
        with Progress(entry, len(checksums), "file") as progress:
            for name, checksum in checksums.items():
                address = f"{access.zenodo}/api/records/{revision}/files/{quote(name)}/content"
                fetch_file(address, folder / name, checksum)
                progress.advance()
        if known is None:
            record(access.lock, entry, revision, {name: sha256_file(folder / name) for name in checksums})

    def materials(self, folder: Path, settings: DatasetSettings) -> list[Material]:
        """See the base class."""
        return [
            Material(f"Zenodo {RECORD}: {path.name}", f"sha256 {sha256_file(path)}", "as stated on Zenodo")
            for path in _files(folder)
        ]

    def read(self, folder: Path, dataset: str, settings: DatasetSettings, seed: int, folds: int) -> Archive:
        """Read the cases of the settings' task, in a seeded order along which folds alternate.

        Raises:
            UserError: there are none, or some aren't as cases of the archive are; the first are named.
        """
        found = list(_cases(folder, settings))
        if not found:
            names = ", ".join(path.name for path in _files(folder)) or "no such file"
            raise UserError(
                f"datasets.{dataset}: no cases of {settings.task} in the JSON files of {folder} ({names})"
            )
        _refuse_twins(found, folder)
        usable = [case for case in found if all(text.strip() for text in case.texts)]
        order = generator(seed, "split", dataset).permutation(len(usable))[: settings.limit]
        chosen = [usable[number] for number in order]
        rows = [_row(case, dataset, settings, number % folds) for number, case in enumerate(chosen)]
        unedited = [
            {
                "case_id": f"{dataset}-{case.case_id}",
                "model": model,
                "outputs": outputs[: settings.neighbours],
            }
            for case in chosen
            for model, outputs in case.neighborhoods.answers.items()
        ]
        return Archive(
            pd.DataFrame(rows), pd.DataFrame(unedited, columns=["case_id", "model", "outputs"]), len(found)
        )


def _ask(zenodo: str) -> tuple[str, dict[str, str]]:
    """Return the record's version and the checksum of each of its files that can be read here."""
    address = f"{zenodo}/api/records/{RECORD}"
    answer = fetch_json(address)
    try:
        assert isinstance(answer, Mapping)
        revision = str(answer["id"])
        checksums = {str(file["key"]): str(file["checksum"]) for file in answer["files"]}
    except (AssertionError, KeyError, TypeError) as error:
        raise UserError(f"{address}: the answer is not a record of Zenodo; check the address") from error
    wanted = {name: checksum for name, checksum in checksums.items() if name.endswith(SUFFIXES)}
    if not wanted:
        raise UserError(
            f"{address}: holds {', '.join(checksums) or 'no files'}, but no {' or '.join(SUFFIXES)};"
            " unpack it by hand and name the folder in the dataset's `path`"
        )
    return revision, wanted


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix in SUFFIXES and not path.name.startswith(".")
    )


def _documents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the JSON files of a folder, also those in its archives."""
    for path in _files(folder):
        if path.suffix == ".json":
            yield str(path), path.read_bytes()
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if PurePosixPath(name).suffix == ".json":
                        yield f"{path}: {name}", archive.read(name)
        except zipfile.BadZipFile as error:
            raise UserError(f"{path}: damaged ({error}); delete it and rerun") from error


def _cases(folder: Path, settings: DatasetSettings) -> Iterator[_Case]:
    """Yield the validated cases of a task; files without cases are passed over."""
    for where, content in _documents(folder):
        try:
            document = json.loads(content.decode("utf-8"))
        except ValueError as error:
            raise UserError(f"{where}: not JSON in UTF-8 ({first_line(error)})") from error
        if not isinstance(document, list) or not _looks_like_cases(document):
            continue
        problems, cases = [], []
        for number, row in enumerate(document):
            try:
                cases.append(_validated(row, settings.neighbours))
            except ValueError as error:
                problems.append(f"row {number}: {error}")
        if problems:
            shown = "; ".join(problems[:SHOWN_PROBLEMS]) + ("; ..." if problems[SHOWN_PROBLEMS:] else "")
            raise UserError(f"{where}: {len(problems)} of {len(document)} rows are no cases: {shown}")
        yield from (case for case in cases if case.task == settings.task)


def _looks_like_cases(rows: list[Any]) -> bool:
    return any(isinstance(row, Mapping) and "edit_request" in row for row in rows)


def _validated(row: object, neighbours: int) -> _Case:
    """Return a row as a case.

    Raises:
        ValueError: in one line, what is wrong with it.
    """
    try:
        case = _Case.model_validate(row, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"] if not str(part).startswith("_"))
        raise ValueError(f"{path or 'the row'}: {first['msg']}") from None
    items = case.neighborhoods.items
    kind = _Intent if case.task == "cnle" else _Function
    if len(items) < neighbours or not all(isinstance(item, kind) for item in items):
        raise ValueError(f"neighborhoods.items: expected {neighbours} of the kind of its edit_request")
    for model, outputs in case.neighborhoods.answers.items():
        if len(outputs) != len(items):
            raise ValueError(
                f"neighborhoods.answers.{model}: has {len(outputs)} outputs for {len(items)} neighbours"
            )
    return case


def _refuse_twins(cases: list[_Case], folder: Path) -> None:
    counts = pd.Series([str(case.case_id) for case in cases]).value_counts()
    twins = sorted(counts[counts > 1].index)
    if twins:
        raise UserError(
            f"{folder}: {len(twins)} case ids are there more than once ({', '.join(twins[:SHOWN_PROBLEMS])});"
            " leave one file of each dataset in the folder"
        )


def _row(case: _Case, dataset: str, settings: DatasetSettings, fold: int) -> dict[str, Any]:
    template = TEMPLATES[settings.task]
    prompt, rephrase, target = case.texts
    near = [
        item.intent if isinstance(item, _Intent) else item.code
        for item in case.neighborhoods.items[: settings.neighbours]
    ]
    return {
        "case_id": f"{dataset}-{case.case_id}",
        "fold": fold,
        "prompt": template.format(text=prompt),
        "rephrase": template.format(text=rephrase),
        "target": target,
        "neighbours": [template.format(text=text) for text in near],
        "neighbour_ids": [],
        "neighbour_similarity": [],
        "origin": f"zenodo:{RECORD}#{case.case_id}",
    }
