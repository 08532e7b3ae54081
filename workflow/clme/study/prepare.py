"""Makes a file that editors need, and makes sure that an editor gets the right one."""

import hashlib
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clme.editors import registry
from clme.editors.base import Need
from clme.errors import UserError
from clme.files import make_folder, sha256_file
from clme.leases import Lease
from clme.models.decoder import Decoder
from clme.models.manifest import manifest_sha256
from clme.models.text import Tokenizer
from clme.provenance import processor, source_hash, versions
from clme.study.batches import Batch, plan, shard
from clme.study.cases import Case, EncodedCase, encode, read_cases, select
from clme.study.needs import KINDS
from clme.study.settings import PrepareSettings
from clme.tensors import read_tensor_metadata, write_tensors


@dataclass(frozen=True)
class Preparation:
    """The work of making one needed file, as the module of its kind sees it.

    Attributes:
        settings: the job's settings; `settings.need` are those of the need.
        model: the model's folder.
        cases: the dataset's cases; None for what belongs to a model alone.
        files: other files that it is made from, by kind.
        folder: for finished parts and checkpoints; a rerun with the same inputs and settings finds here
            what an interrupted run has left. It exists.
    """

    settings: PrepareSettings
    model: Path
    cases: Path | None
    files: Mapping[str, Path]
    folder: Path

    @property
    def label(self) -> str:
        """What the progress is called."""
        fold = "" if self.settings.fold is None else f" fold {self.settings.fold}"
        part = "" if self.settings.shard is None else f" {self.settings.shard}"
        return "/".join(filter(None, (self.settings.model, self.settings.dataset))) + fold + part

    def need(self, name: str) -> Any:
        """Return one of the need's settings.

        Raises:
            UserError: it is missing.
        """
        if name not in self.settings.need:
            raise UserError(f"--settings: need.{name}: missing; it has {', '.join(self.settings.need)}")
        return self.settings.need[name]

    @cached_property
    def decoder(self) -> Decoder:
        """The model."""
        return Decoder.load(self.model, **self.settings.compute.places())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return Tokenizer.load(self.model)

    @cached_property
    def all_cases(self) -> list[Case]:
        """The dataset's cases.

        Raises:
            UserError: the file is missing or bad.
        """
        assert self.cases is not None
        return read_cases(self.cases)

    def edited_cases(self) -> list[EncodedCase]:
        """Return the fold's cases that are edited.

        Raises:
            UserError: the file is missing or bad, or a case can't be used with this model.
        """
        chosen = select(self.all_cases, self.settings.evaluation)
        return self.encoded([case for case in chosen if case.fold == self.settings.fold])

    def batches(self, tokens: int) -> tuple[list[Batch], int]:
        """Plan the batches of the fold's edited cases.

        Args:
            tokens: in a batch at most.

        Returns:
            The batches of the job's shard, and how many of the fold's are before them.

        Raises:
            UserError: the cases' file is missing or bad, or a case can't be used with this model.
        """
        planned = plan(self.edited_cases(), self.settings.compute.batch_cases, tokens)
        own = self.settings.shard
        if own is None:
            return planned, 0
        before = sum(len(shard(planned, number, own.of)) for number in range(1, own.number))
        return shard(planned, own.number, own.of), before

    def encoded(self, cases: Sequence[Case]) -> list[EncodedCase]:
        """Tokenise cases.

        Raises:
            UserError: some can't be used with this model.
        """
        assert self.cases is not None
        return encode(cases, self.tokenizer, self.decoder.max_tokens, self.cases)


def run(
    kind: str,
    model: Path,
    cases: Path | None,
    files: Mapping[str, Path],
    settings: PrepareSettings,
    journals: Path,
    output: Path,
) -> None:
    """Make a needed file.

    Args:
        kind: one of `KINDS`.
        model: the model's folder.
        cases: the dataset's cases; None for what belongs to a model alone.
        files: other files that it is made from, by kind.
        settings: the job's settings.
        journals: folder for finished parts and checkpoints.
        output: where the file goes.

    Raises:
        UserError: an input can't be used, or the output can't be written. Finished parts are kept.
    """
    _refuse_incomplete(kind, cases, settings)
    own = settings.shard
    made_by = [KINDS[kind].module]
    if settings.editor is not None:
        made_by.append(registry.module(settings.editor))
    about = _about(kind, model, cases, settings) | {
        "settings": settings.model_copy(update={"shard": None}).model_dump(mode="json"),
        **{f"{name}_sha256": sha256_file(path) for name, path in files.items()},
        "source_hash": source_hash(*made_by),
        "versions": versions(),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = journals / digest
    make_folder(folder)
    # Shards put their parts into one folder: however many there are, what is finished stays.
    with Lease(journals, digest if own is None else f"{digest}-{own.number}of{own.of}") as lease:
        job = Preparation(settings, model, cases, files, folder)
        tensors, metadata = importlib.import_module(KINDS[kind].module).prepare(job)
        hardware = {"processor": processor(), "device": job.decoder.device_name}
        lease.check()
        about["settings"] = settings.model_dump(mode="json")
        write_tensors(output, tensors, {**about, "hardware": hardware, **metadata})
    print(f"{kind} {job.label} -> {output}", file=sys.stderr, flush=True)


def _refuse_incomplete(kind: str, cases: Path | None, settings: PrepareSettings) -> None:
    """Make sure that it is said what the file belongs to."""
    scope = KINDS[kind].scope
    if settings.shard is not None and not KINDS[kind].divisible:
        raise UserError(f"shard: not wanted; files of the kind {kind} are made by one job")
    said = {"--cases": cases, "fold": settings.fold, "editor": settings.editor}
    expected = {"model": 0, "dataset": 1, "fold": 2, "editor": 3}[scope]
    for number, (name, value) in enumerate(said.items()):
        if (value is not None) != (number < expected):
            verb = "missing" if value is None else "not wanted"
            raise UserError(f"{name}: {verb}; files of the kind {kind} belong to the {scope}")


def _about(kind: str, model: Path, cases: Path | None, settings: PrepareSettings) -> dict[str, Any]:
    """Return what a needed file says of itself, and what is checked before it is used."""
    belongs: dict[str, Any] = {"kind": kind, "model_manifest_sha256": manifest_sha256(model)}
    if cases is not None:
        belongs["cases_sha256"] = sha256_file(cases)
    belongs |= {"fold": settings.fold, "editor": settings.editor, "need": settings.need}
    return {name: value for name, value in belongs.items() if value is not None}


def given(
    needs: Sequence[Need], files: Mapping[str, Path], *, model: Path, cases: Path, fold: int, editor: str
) -> dict[str, Path]:
    """Return those of the given files that an editor needs, having checked each.

    Args:
        needs: the editor's.
        files: what was given, by kind.
        model: the model's folder.
        cases: the dataset's cases.
        fold: the fold that is edited.
        editor: the editor's name.

    Raises:
        UserError: a file is missing, or was made for another model, dataset, fold, editor, or with other
            settings.
    """
    found = {}
    for need in needs:
        if need.kind in files:
            _check(files[need.kind], need, model=model, cases=cases, fold=fold, editor=editor)
            found[need.kind] = files[need.kind]
        elif not need.shortcut:
            raise UserError(
                f"{editor} needs {need.kind}: give --needs {need.kind}=FILE, made by `clme prepare"
                f" {need.kind}` for the need {json.dumps(dict(need.settings))}"
            )
    unknown = sorted(files.keys() - {need.kind for need in needs})
    if unknown:
        raise UserError(f"--needs {unknown[0]}=...: {editor} has no use for it; leave the option out")
    return found


def _check(path: Path, need: Need, *, model: Path, cases: Path, fold: int, editor: str) -> None:
    metadata = read_tensor_metadata(path)
    if metadata.get("settings", {}).get("shard") is not None:
        raise UserError(f"{path}: is one shard; put all together by `clme merge-prepared`")
    scope = KINDS[need.kind].scope
    expected: dict[str, tuple[str, Any]] = {
        "kind": ("kind", need.kind),
        "model": ("model_manifest_sha256", manifest_sha256(model)),
    }
    if scope != "model":
        expected["dataset"] = ("cases_sha256", sha256_file(cases))
    if scope in ("fold", "editor"):
        expected["fold"] = ("fold", fold)
    if scope == "editor":
        expected["editor"] = ("editor", editor)
    for what, (key, value) in expected.items():
        if metadata.get(key) != value:
            raise UserError(
                f"{path}: was made for another {what} ({key} {metadata.get(key)}, here {value});"
                f" make it anew by `clme prepare {need.kind}`"
            )
    stored = metadata.get("need", {})
    for key, value in need.settings.items():
        if stored.get(key) != value:
            raise UserError(
                f"{path}: was made with another {key} ({stored.get(key)}, {editor} has {value});"
                f" make it anew by `clme prepare {need.kind}`"
            )
