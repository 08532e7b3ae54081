"""What determines the result of a job, as one JSON object on its command line."""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clme.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Compute(_Settings):
    """Where and in which portions the model runs."""

    device: str = Field("auto", description="a torch device, or auto: the accelerator where there is one")
    accelerators: int = Field(
        1,
        ge=1,
        description="of a job, where there are any; over more than one the model's layers are spread, for"
        " models that don't fit on one",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="precision of the model")
    threads: int | None = Field(
        None, ge=1, description="cores of a baseline or edit job; null: all that Snakemake was given"
    )
    batch: Literal["limits", "auto"] = Field(
        "limits",
        description="batches of baseline and edit jobs: as large as the limits below allow, or as large as"
        " fit memory, by what one and two cases take; where memory runs out, batches are always halved",
    )
    memory_mb: int | None = Field(
        None, ge=1, description="what batches may take with `batch: auto`; null: 80% of what is free at first"
    )
    batch_cases: int = Field(8, ge=1, description="requests that are edited together at most")
    edit_tokens: int = Field(2048, ge=1, description="tokens that are optimised over together at most")
    read_tokens: int = Field(
        8192, ge=1, description="tokens that are read, and sampled, together in evaluation at most"
    )
    padding: float = Field(
        1.0,
        ge=0,
        le=1,
        description="part of padding among tokens that are read or optimised over together at most; lower it"
        " where small batches cost little, as on a CPU",
    )

    def places(self) -> dict[str, Any]:
        """Return where the model goes, and how precise it is, as `Decoder.load` takes it."""
        return self.model_dump(include={"device", "dtype", "accelerators"})


class Selection(_Settings):
    """Which of a dataset's targeted cases are edited, and how they are measured."""

    cases: int | None = Field(None, ge=1, description="how many, in the dataset's seeded order; null: all")
    skip: int = Field(0, ge=0, description="how many of the first are left out (for tuning on others)")
    timed_cases: int = Field(
        8, ge=0, description="how many are also edited one at a time for time and memory"
    )
    fluency: bool = Field(
        True, description="whether texts are sampled for fluency, which takes longer than all else"
    )
    exclude: tuple[str, ...] = Field((), description="case ids to be left out, with the reason in a comment")


class Training(_Settings):
    """Which cases editors that train see; always cases outside of the fold that they are for."""

    cases: int | None = Field(None, ge=1, description="how many, in the dataset's seeded order; null: all")


NPZ = "npz:"
_CORPUS = r"^(packages|hub:[\w.-]+/[\w.-]+(/[\w./-]+)?(@[\w./-]+)?|path:.+|npz:.+)$"


class MomentsSettings(_Settings):
    """The texts over which second moments are taken: MEMIT, PMET, and ROME with `mom2_adjustment`.

    The defaults are those of the released code, but for the edition of Wikipedia: of the editions on the hub,
    the one that EasyEdit uses.
    """

    corpus: str = Field(
        "hub:wikimedia/wikipedia/20231101.en",
        pattern=_CORPUS,
        description="hub:OWNER/NAME[/FOLDER][@REVISION] or path:FOLDER (Parquet files with a column `text`),"
        " packages (source code of pinned packages that no targeted pair is from), or npz:FOLDER (second"
        " moments as ROME, MEMIT and EasyEdit store them; {model} stands for the model's name)",
    )
    samples: int = Field(100_000, ge=1, description="texts of the corpus, chosen at random (mom2_n_samples)")
    fraction: float = Field(
        1.0, gt=0, le=1, description="fast mode: the part of these texts that is used; tables say so"
    )
    max_tokens: int = Field(4096, ge=1, description="longer texts are cut (released code: batch_tokens)")
    precision: Literal["float32", "float64"] = Field(
        "float32", description="of products and sums (mom2_dtype)"
    )


Task = Literal["cnle", "csne"]
ProtocolName = Literal["paper", "released"]


class BaselineSettings(_Settings):
    """Settings of a baseline job: the unedited model on one dataset."""

    model: str
    dataset: str
    seed: int = 0
    protocol: ProtocolName = "paper"
    compute: Compute = Compute()
    evaluation: Selection = Selection()


class Shard(_Settings):
    """One of the jobs that a fold's cases are divided among."""

    number: int = Field(ge=1)
    of: int = Field(ge=1)

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"


class EditSettings(BaselineSettings):
    """Settings of an edit job: one editor on one fold of a dataset.

    Attributes:
        row: what results call the editor, where that isn't its own name.
        task: the dataset's, for hyperparameters that depend on it.
        hyperparameters: those that differ from the editor's defaults under the protocol.
        shard: the part of the fold that is edited; None: all of it.
    """

    editor: str
    row: str | None = None
    task: Task | None = None
    fold: int = Field(0, ge=0)
    hyperparameters: dict[str, Any] = {}
    shard: Shard | None = None


class PrepareSettings(_Settings):
    """Settings of a preparation: one file that editors need.

    Attributes:
        need: the settings of the need; all that determines the file besides what it belongs to.
        dataset: None for what belongs to a model alone.
        fold: None for what belongs to a model or a dataset.
        editor: whose state it is; None for other kinds.
        protocol: of an evaluation, for kinds that have one.
        evaluation: the cases that are edited.
        training: the cases that editors are trained on.
        shard: the part of the edited cases that the file is for; None: all.
    """

    model: str
    need: dict[str, Any]
    dataset: str | None = None
    fold: int | None = Field(None, ge=0)
    editor: str | None = None
    protocol: ProtocolName = "paper"
    compute: Compute = Compute()
    evaluation: Selection = Selection()
    training: Training = Training()
    shard: Shard | None = None


def parse(model: type[Model], text: str) -> Model:
    """Read settings from JSON.

    Raises:
        UserError: a key is unknown, missing or of the wrong type; each is named.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors()]
        raise UserError(f"--settings: {'; '.join(problems)}") from error
