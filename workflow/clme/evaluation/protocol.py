"""The two readings of the study's protocol: the paper's text, and the released code's choices."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

SPECIFICITY_TOKENS = 16
FLUENCY_TOKENS = 64
FLUENCY_TOP_K = 5


class Protocol(BaseModel):
    """What the paper leaves open or the released code does otherwise.

    Attributes:
        name: how results call this reading.
        specificity_em: exact match over a case's neighbours: their ``mean`` (the paper's "percentage
            of neighbours"), or ``all`` of them (the released code multiplies).
        fluency_beams: beams of the sampling for fluency. The paper says beam search and names no
            width; the code samples with one beam.
        grace_decoding: whether GRACE also compares every decoded token with its key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    specificity_em: Literal["mean", "all"]
    fluency_beams: int
    grace_decoding: bool


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="paper", specificity_em="mean", fluency_beams=5, grace_decoding=False),
        Protocol(name="released", specificity_em="all", fluency_beams=1, grace_decoding=True),
    )
}
