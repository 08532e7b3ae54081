"""What an editor is. One file per editor, one entry point per editor (group ``clme.editors``)."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from clme.edits import Edit
from clme.models.decoder import Decoder


class EditorConfig(BaseModel):
    """Hyperparameters: types, bounds, and the paper's values as defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Request:
    """One thing to be taught: after `prompt`, the model is to say `target`.

    Attributes:
        case_id: names the case; random numbers belong to it.
        prompt: token ids, at least one.
        target: token ids, at least one.
        prompt_in_text: the prompt's token ids where it follows other text and a space; None: the same.
        subject: how many tokens at the prompt's end hold its last word, at least one.
    """

    case_id: str
    prompt: tuple[int, ...]
    target: tuple[int, ...]
    prompt_in_text: tuple[int, ...] | None = None
    subject: int = 1


@dataclass(frozen=True)
class Failure:
    """An edit that could not be made; the model stays as it is.

    Attributes:
        reason: one line for the results and for the reader of the log.
    """

    reason: str


@dataclass(frozen=True)
class Need:
    """A file that an editor uses, made before it edits; editors with equal needs share the file.

    Attributes:
        kind: what the file holds; `clme.study.needs.KINDS` lists the kinds and says to what a file
            of each belongs: a model, a dataset, a fold, an editor on a fold.
        settings: all that determines the file besides that, as JSON has it. Of the kind ``state``: the
            study's seed, and by name the hyperparameters that determine the training.
        shortcut: the file saves work that belongs to the time of an edit: what is measured does without.
        sees_test: of the kind ``state``: the fold's own cases are seen in training, as in the paper,
            which chooses an encoder by them.
    """

    kind: str
    settings: Mapping[str, Any]
    shortcut: bool = False
    sees_test: bool = False

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that stand for the settings in the file's name."""
        text = json.dumps(dict(self.settings), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class TrainingCase:
    """A case to train on.

    Attributes:
        request: the prompt and its target.
        rephrase: the rephrased prompt with the same target; named as the request is.
        neighbours: token ids of prompts on which an edit is to change nothing.
    """

    request: Request
    rephrase: Request
    neighbours: tuple[tuple[int, ...], ...]

    @property
    def case_id(self) -> str:
        """Names the case."""
        return self.request.case_id


@dataclass(frozen=True)
class State:
    """What an editor has learned on the cases outside of a fold.

    Attributes:
        tensors: stored by name.
        curve: one record of numbers for each validation, for figures.
    """

    tensors: Mapping[str, Tensor]
    curve: tuple[Mapping[str, float], ...] = ()


class Editor(ABC):
    """Turns requests into edits; never changes the model.

    Before `edit`, the files of `needs` are handed over by `load`. An editor that trains has a need of the
    kind ``state``, and `fit` makes it; all other needs are made by the module of their kind.

    Attributes:
        name: the name of its entry point.
        Config: its hyperparameters.
        tasks: by task (``cnle``, ``csne``), where the paper's values differ between them.
        released: where the released code's choices differ from the paper's.
        least_training: cases that `fit` needs at least.

    Args:
        config: an instance of `Config`.
        seed: the study's seed; what is drawn for a request depends on it and on the request's case.
    """

    name: ClassVar[str]
    Config: ClassVar[type[EditorConfig]]
    tasks: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    released: ClassVar[Mapping[str, Any]] = {}
    least_training: ClassVar[int] = 2

    def __init__(self, config: Any, seed: int) -> None:
        self.config, self.seed = config, seed

    @classmethod
    def configured(cls, protocol: str, overrides: Mapping[str, Any], task: str | None = None) -> EditorConfig:
        """Return the hyperparameters under a protocol, with those of a model's entry over them.

        Args:
            protocol: ``paper`` or ``released``.
            overrides: the model's own.
            task: the dataset's, for hyperparameters that depend on it.

        Raises:
            pydantic.ValidationError: a key is unknown, or a value has the wrong type or is out of bounds.
        """
        chosen = cls.released if protocol == "released" else {}
        return cls.Config(**{**cls.tasks.get(task or "", {}), **chosen, **overrides})

    def check(self, decoder: Decoder) -> None:  # noqa: B027 (most editors need it, not all)
        """Make sure that the model has what the hyperparameters name.

        Raises:
            UserError: a layer is out of range, or a module is missing.
        """

    def needs(self) -> tuple[Need, ...]:
        """Return the files that are to be made before editing, at most one of each kind."""
        return ()

    def load(self, decoder: Decoder, files: Mapping[str, Path]) -> None:  # noqa: B027 (most have no needs)
        """Read the needed files; called once, before `edit`.

        Args:
            decoder: the unedited model.
            files: by kind; they belong to the model, the dataset and the fold, and hold what the needs
                say. Shortcuts may be missing.
        """

    def fit(
        self,
        decoder: Decoder,
        training: Sequence[TrainingCase],
        test: Sequence[TrainingCase],
        files: Mapping[str, Path],
        folder: Path,
    ) -> State:
        """Train on the cases outside of a fold; for editors with a need of the kind ``state``.

        Args:
            decoder: the unedited model.
            training: at least `least_training` cases outside of the fold.
            test: the fold's own cases if the need `sees_test`, otherwise none.
            files: the editor's needed files that belong to a model or a dataset, by kind.
            folder: for checkpoints; an interrupted training finds here what it has written.

        Raises:
            UserError: there are too few cases.
        """
        raise NotImplementedError(f"{self.name} has nothing to learn")

    @abstractmethod
    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """Make one edit for each request, independently of the others in the batch.

        Args:
            decoder: the unedited model.
            requests: a batch; an edit does not depend on what else is in it.
        """
