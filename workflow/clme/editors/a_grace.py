"""A-GRACE: GRACE with a contrastively trained encoder of the mean over the prompt's tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from clme.editors.base import EditorConfig, Need, State, TrainingCase
from clme.editors.codebooks import CodebookEditor
from clme.editors.contrastive import TRAINING, VARIANTS, EncoderConfig, EncoderTraining, Pairs, split
from clme.keys import KeyEncoder
from clme.models.decoder import Decoder
from clme.representations import Pool, Representations
from clme.tensors import read_tensors


class AGrace(CodebookEditor):
    """Augmented GRACE (the study's own editor; paper, Section IV-C).

    The key is W2 sigma(W1 q), with q the mean of the module's inputs over all tokens of the prompt, and
    the encoder trained on the other folds to bring a prompt and its rephrase together and to push its
    neighbours away (Equation 4). All else is GRACE.
    """

    name = "a_grace"
    Config = EncoderConfig
    pool: ClassVar[Pool] = "mean"
    tasks = {"cnle": {"margin": 1.3}, "csne": {"margin": 2.5}}  # noqa: RUF012
    released = {"variant": "released", **VARIANTS["released"]}  # noqa: RUF012
    _encoder: KeyEncoder | None = None

    @classmethod
    def configured(cls, protocol: str, overrides: Mapping[str, Any], task: str | None = None) -> EditorConfig:
        """See the base class; the variant is the protocol's unless `overrides` names one."""
        variant = overrides.get("variant", "released" if protocol == "released" else "paper")
        special = {**cls.tasks.get(task or "", {}), **VARIANTS.get(variant, {})}
        return cls.Config(**{"variant": variant, **special, **overrides})

    def needs(self) -> tuple[Need, ...]:
        """See the base class."""
        config: EncoderConfig = self.config
        at = {"layer": config.layer, "module": config.module}
        training = {"seed": self.seed, **config.model_dump(include=set(TRAINING))}
        return (
            *super().needs(),
            Need("representations", at, shortcut=True),
            Need("state", training, sees_test=config.selection == "test"),
        )

    def load(self, decoder: Decoder, files: Mapping[str, Path]) -> None:
        """See the base class."""
        super().load(decoder, files)
        tensors = read_tensors(files["state"], decoder.device)
        self._encoder = KeyEncoder(**tensors, slope=self.config.slope)

    def encoder(self) -> KeyEncoder:
        """Return the trained encoder."""
        assert self._encoder is not None, "an editor's needs are loaded before it edits"
        return self._encoder

    def fit(
        self,
        decoder: Decoder,
        training: Sequence[TrainingCase],
        test: Sequence[TrainingCase],
        files: Mapping[str, Path],
        folder: Path,
    ) -> State:
        """See the base class."""
        config: EncoderConfig = self.config
        stored = Representations(files["representations"])
        learned, chosen_by = [case.case_id for case in training], [case.case_id for case in test]
        if config.selection == "held_out":
            learned, chosen_by = split(learned, config.held_out, self.seed)
        learn, choose = (Pairs.of([stored.of(one, self.pool) for one in ids]) for ids in (learned, chosen_by))
        run = EncoderTraining(config, self.seed, learn, choose, decoder.device, folder)
        return run.run(f"{self.name}, encoder")
