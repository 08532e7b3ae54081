"""The registered editors: entry points of the group ``clme.editors``, of this or any installed package."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from clme.errors import UserError

if TYPE_CHECKING:
    from clme.editors.base import Editor

PAPER_ORDER = (
    "none",
    "ft_l",
    "rome",
    "memit",
    "pmet",
    "malmen",
    "grace",
    "a_grace",
    "a_grace_wo_cl",
    "a_grace_wo_mean",
)


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="clme.editors")}


def names() -> list[str]:
    """Return the registered editors, the paper's first and in its order; imports none of them."""
    place = {name: number for number, name in enumerate(PAPER_ORDER)}
    return sorted(_registered(), key=lambda name: (place.get(name, len(place)), name))


def editor(name: str) -> "type[Editor]":
    """Import and return an editor's class.

    Raises:
        UserError: no such editor is registered.
    """
    found = _registered().get(name)
    if found is None:
        raise UserError(f"editor {name!r}: not registered; there are {', '.join(names())}")
    loaded: type[Editor] = found.load()
    return loaded


def module(name: str) -> str:
    """Return the name of the module that an editor is written in; its source makes the results."""
    return _registered()[name].module


def configured(
    name: str, *, protocol: str, task: str | None, overrides: Mapping[str, Any], seed: int
) -> "Editor":
    """Return an editor with its hyperparameters.

    Args:
        name: the editor's.
        protocol: ``paper`` or ``released``.
        task: the dataset's, for hyperparameters that depend on it.
        overrides: hyperparameters that differ from the defaults.
        seed: the study's seed.

    Raises:
        UserError: it isn't registered, or a hyperparameter is wrong.
    """
    chosen = editor(name)
    try:
        config = chosen.configured(protocol, overrides, task)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError(f"hyperparameters of {name}: {'; '.join(problems)}") from error
    return chosen(config, seed)
