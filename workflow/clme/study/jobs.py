"""What baseline and edit jobs share: loading and identity."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clme.editors.base import Request, TrainingCase
from clme.evaluation.protocol import PROTOCOLS, Protocol
from clme.files import sha256_file
from clme.models.decoder import Decoder
from clme.models.manifest import manifest_sha256
from clme.models.text import EncodedRequest, Tokenizer
from clme.provenance import processor, source_hash, versions
from clme.study.cases import EncodedCase, encode, read_cases, select
from clme.study.evaluate import Evaluator
from clme.study.settings import BaselineSettings


@dataclass(frozen=True)
class Loaded:
    """A model and the cases that a job is about."""

    decoder: Decoder
    tokenizer: Tokenizer
    cases: list[EncodedCase]
    protocol: Protocol

    def evaluator(self, settings: BaselineSettings) -> Evaluator:
        """Return what evaluates edits under the job's protocol."""
        return Evaluator(
            self.decoder,
            self.tokenizer,
            self.protocol,
            seed=settings.seed,
            read_tokens=settings.compute.read_tokens,
            padding=settings.compute.padding,
            fluency=settings.evaluation.fluency,
        )


def load(model: Path, cases: Path, settings: BaselineSettings, fold: int | None = None) -> Loaded:
    """Load a model and the selected cases, of one fold or of all.

    Raises:
        UserError: the model or the cases can't be used.
    """
    chosen = select(read_cases(cases), settings.evaluation)
    wanted = [case for case in chosen if fold is None or case.fold == fold]
    tokenizer = Tokenizer.load(model)
    decoder = Decoder.load(model, **settings.compute.places())
    encoded = encode(wanted, tokenizer, decoder.max_tokens, cases)
    return Loaded(decoder, tokenizer, encoded, PROTOCOLS[settings.protocol])


def identity(
    settings: BaselineSettings, model: Path, inputs: Mapping[str, Path], modules: Sequence[str]
) -> dict[str, Any]:
    """Return all that determines a job's result.

    Args:
        settings: the job's settings.
        model: the model's folder.
        inputs: the other input files, by what they are.
        modules: whose source, with all that they import, makes the result.
    """
    return {
        "settings": settings.model_dump(mode="json"),
        "model_manifest_sha256": manifest_sha256(model),
        **{f"{name}_sha256": sha256_file(path) for name, path in inputs.items()},
        "source_hash": source_hash(*modules),
        "versions": versions(),
    }


def file_metadata(identity: Mapping[str, Any], decoder: Decoder) -> dict[str, str]:
    """Return an identity as the metadata of a result file, with the hardware."""
    found = {name: value if isinstance(value, str) else json.dumps(value) for name, value in identity.items()}
    settings = identity["settings"]
    hardware = {"processor": processor(), "device": decoder.device_name}
    return {
        **found,
        "clme_version": identity["versions"]["clme"],
        "protocol": settings["protocol"],
        "seed": str(settings["seed"]),
        "hardware": json.dumps(hardware),
    }


def request_of(case: EncodedCase) -> Request:
    """Return what a case asks an editor to teach."""
    return _request(case.case.case_id, case.request)


def _request(case_id: str, encoded: EncodedRequest) -> Request:
    return Request(case_id, encoded.prompt, encoded.target, encoded.prompt_in_text, encoded.last_word)


def training_case(case: EncodedCase) -> TrainingCase:
    """Return a case as editors train on it."""
    return TrainingCase(request_of(case), _request(case.case.case_id, case.rephrase), case.neighbours)
