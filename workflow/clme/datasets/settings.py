"""The settings of a dataset's construction, and of the services that it may ask."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DatasetSettings(BaseModel):
    """How one dataset of the benchmark is built (paper, Section III-C)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["cnle", "csne"] = Field(
        description="cnle: intent to Python snippet; csne: Python function to description"
    )
    source: Literal["pypi", "conala", "codesearchnet", "released"] = Field(
        description="where the pairs come from: pinned packages, CoNaLa's mined part with curated intents,"
        " CodeSearchNet's Python part, or the authors' archive of finished cases"
    )
    path: str | None = Field(
        None, min_length=1, description="a local folder with the source's files, used instead of a download"
    )
    encoder: str = Field(description="which of `encoders` embeds inputs and counts tokens")
    masked_model: str | None = Field(
        None,
        description="csne: which of `encoders` proposes variables' new names as a masked language model;"
        " null: names of the corpus that are near in the encoder's space",
    )
    grader: str = Field(
        "embedding", description="cnle: which of `services` grades relevance; embedding: the encoder does"
    )
    rewriter: str = Field(
        "lexicon", description="cnle: which of `services` rewrites intents; lexicon: fixed words and frames"
    )
    limit: int | None = Field(None, ge=1, description="pairs taken from the source at most (seeded choice)")
    max_input_tokens: int = Field(512, ge=1, description="longer inputs are left out (the encoder's tokens)")
    max_target_tokens: int | None = Field(None, ge=1, description="longer targets are left out; null: none")
    must_parse: bool = Field(True, description="pairs whose code doesn't parse as Python are left out")
    docstring_in_code: bool = Field(True, description="csne: the function keeps its docstring")
    targeted_fraction: float = Field(
        1 / 6, gt=0, lt=1, description="part of the pairs that is edited, where the source has no test split"
    )
    neighbours: int = Field(5, ge=1, description="non-targeted neighbours of each case")


class ServiceSettings(BaseModel):
    """A language-model service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(pattern=r"^https?://\S+$", description="address of the endpoint")
    model: str = Field(min_length=1, description="the model's name there")
    key_variable: str | None = Field(
        None, pattern=r"^[A-Za-z_]\w*$", description="environment variable that holds the key; null: no key"
    )
    concurrency: int = Field(8, ge=1, description="requests at a time at most")
    requests_per_minute: int | None = Field(None, ge=1, description="requests begun in a minute at most")
    input_price: float | None = Field(None, ge=0, description="per million tokens, for the estimate")
    output_price: float | None = Field(None, ge=0, description="per million tokens, for the estimate")
