"""What is made before editing: the kinds of files that editors need, and where each is.

A kind is added by one line in `KINDS`, one rule in `workflow/rules/prepare.smk` (its output is
``needs.KINDS["..."].pattern``), and one module with a function

    def prepare(job: clme.study.prepare.Preparation) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]

that returns the file's tensors and, beyond what every such file records, its metadata.
`clme prepare KIND` calls it, with `job.settings.need` being the settings of the editor's need.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from clme.editors import registry
from clme.study.config import StudyConfig
from clme.study.settings import PrepareSettings, Selection, Shard, Training

if TYPE_CHECKING:
    from clme.editors.base import Need

Scope = Literal["model", "dataset", "fold", "editor"]

_FOLDERS: dict[Scope, str] = {
    "model": "{model}/",
    "dataset": "{model}/{dataset}/",
    "fold": "{model}/{dataset}/fold{fold}.",
    "editor": "{model}/{dataset}/{editor}/fold{fold}.",
}


@dataclass(frozen=True)
class Kind:
    """A kind of needed files.

    Attributes:
        folder: where its files are, below ``results``.
        scope: what a file belongs to: a model, a dataset, a fold of it, or an editor on a fold.
        module: has the function that makes it.
        section: the part of the study's configuration that belongs to the settings of such a need, which
            an editor doesn't know; None for kinds of which the editor says all.
        divisible: whether shards of a fold's cases can be made by a job each; all tensors of such a file
            are in its cases' order, and those of shards, one after the other, are the whole file's.
    """

    folder: str
    scope: Scope
    module: str
    section: str | None = None
    divisible: bool = False

    @property
    def pattern(self) -> str:
        """The path of its files, with wildcards."""
        return f"results/{self.folder}/{_FOLDERS[self.scope]}{{digest}}.safetensors"

    @property
    def shard_pattern(self) -> str:
        """The path of its shards, with wildcards."""
        name = f"{_FOLDERS[self.scope]}{{digest}}.{{shard}}of{{shards}}.safetensors"
        return f"results/shards/{self.folder}/{name}"


KINDS = {
    "contexts": Kind("contexts", "model", "clme.study.contexts"),
    "moments": Kind("moments", "model", "clme.study.moments", section="moments"),
    "representations": Kind("representations", "dataset", "clme.study.representations"),
    "vectors": Kind("vectors", "fold", "clme.study.vectors", divisible=True),
    "values": Kind("values", "fold", "clme.study.values", divisible=True),
    "fired": Kind("fired", "fold", "clme.study.fired", divisible=True),
    "state": Kind("states", "editor", "clme.study.states"),
}


def of(study: StudyConfig, model: str, dataset: str, editor: str) -> "tuple[Need, ...]":
    """Return what an editor of the study needs; without torch nothing can be edited, so nothing is needed."""
    task = study.datasets[dataset].task
    overrides = study.hyperparameters(model, editor, task)
    try:
        configured = registry.configured(
            study.editor(editor), protocol=study.protocol, task=task, overrides=overrides, seed=study.seed
        )
    except ModuleNotFoundError as error:
        if error.name == "torch":
            return ()
        raise
    return tuple(_completed(study, need) for need in configured.needs())


def _completed(study: StudyConfig, need: "Need") -> "Need":
    """Add what the study's configuration says of needs of this kind."""
    section = KINDS[need.kind].section
    if section is None:
        return need
    return replace(need, settings={**need.settings, **getattr(study, section).model_dump()})


def paths(
    study: StudyConfig, model: str, dataset: str, editor: str, fold: str, scopes: set[Scope] | None = None
) -> dict[str, str]:
    """Return the paths of what an editor needs on a fold, by kind.

    Args:
        scopes: only kinds of these.
    """
    names = {"model": model, "dataset": dataset, "editor": editor, "fold": fold}
    return {
        need.kind: KINDS[need.kind].pattern.format(digest=need.digest, **names)
        for need in of(study, model, dataset, editor)
        if scopes is None or KINDS[need.kind].scope in scopes
    }


def settings(
    study: StudyConfig,
    kind: str,
    *,
    digest: str,
    model: str,
    dataset: str | None = None,
    editor: str | None = None,
    fold: str | None = None,
    shard: str | None = None,
    shards: str | None = None,
) -> PrepareSettings:
    """Return the settings of the job that makes the file of a name.

    They hold no more of the study than matters to the kind, so that nothing is made anew without need.

    Raises:
        KeyError: no editor of the study needs such a file.
    """
    need = _find(study, kind, digest, model, dataset, editor)
    trains = kind in ("representations", "state")
    evaluates = kind in ("representations", "vectors", "values", "fired")
    exclude = study.evaluation.exclude if trains else ()
    evaluation = study.evaluation.model_copy(update={"timed_cases": 0})
    if kind != "fired":
        evaluation = evaluation.model_copy(update={"fluency": True})
    return PrepareSettings(
        model=model,
        need=dict(need.settings),
        dataset=dataset,
        fold=None if fold is None else int(fold),
        editor=None if editor is None else study.editor(editor),
        compute=study.compute.of_a_job(),
        protocol=study.protocol if kind == "fired" else "paper",
        evaluation=evaluation if evaluates or need.sees_test else Selection(timed_cases=0, exclude=exclude),
        training=study.training if trains else Training(),
        shard=None if shard is None or shards is None else Shard(number=int(shard), of=int(shards)),
    )


def _find(
    study: StudyConfig, kind: str, digest: str, model: str, dataset: str | None, editor: str | None
) -> "Need":
    for one in study.datasets if dataset is None else [dataset]:
        for name in study.editor_names if editor is None else [editor]:
            for need in of(study, model, one, name):
                if need.kind == kind and need.digest == digest:
                    return need
    raise KeyError(f"{kind} {digest} of {model}")
