"""What an editor is. One file per editor, one entry point per editor (group ``clme.editors``)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

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
    """

    case_id: str
    prompt: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True)
class Failure:
    """An edit that could not be made; the model stays as it is.

    Attributes:
        reason: one line for the results and for the reader of the log.
    """

    reason: str


class Editor(ABC):
    """Turns requests into edits; never changes the model.

    Attributes:
        name: the name of its entry point.
        Config: its hyperparameters.
        released: where the released code's choices differ from the paper's.

    Args:
        config: an instance of `Config`.
        seed: the study's seed; what is drawn for a request depends on it and on the request's case.
    """

    name: ClassVar[str]
    Config: ClassVar[type[EditorConfig]]
    released: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: Any, seed: int) -> None:
        self.config, self.seed = config, seed

    @classmethod
    def configured(cls, protocol: str, overrides: Mapping[str, Any]) -> EditorConfig:
        """Return the hyperparameters under a protocol, with those of a model's entry over them.

        Raises:
            pydantic.ValidationError: a key is unknown, or a value has the wrong type or is out of bounds.
        """
        chosen = cls.released if protocol == "released" else {}
        return cls.Config(**{**chosen, **overrides})

    def check(self, decoder: Decoder) -> None:  # noqa: B027 (most editors need it, not all)
        """Make sure that the model has what the hyperparameters name.

        Raises:
            UserError: a layer is out of range, or a module is missing.
        """

    @abstractmethod
    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """Make one edit for each request, independently of the others in the batch.

        Args:
            decoder: the unedited model.
            requests: a batch; an edit does not depend on what else is in it.
        """
