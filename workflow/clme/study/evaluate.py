"""Evaluates edits on their cases: outputs, then metrics (paper, Section III-D and III-E)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from clme.edits import Codebook, Edit
from clme.evaluation import metrics
from clme.evaluation.decoding import Continuation, Continuer, Row
from clme.evaluation.protocol import FLUENCY_TOKENS, FLUENCY_TOP_K, SPECIFICITY_TOKENS, Protocol
from clme.evaluation.sampling import Sampler
from clme.models.decoder import Decoder
from clme.models.text import Tokenizer
from clme.representations import Pooled
from clme.study.cases import EncodedCase

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Outputs:
    """What a model says to a case's prompts, as token ids.

    Attributes:
        greedy: for the request's prompt, the rephrase, and each neighbour.
        sampled: for the request's prompt and the rephrase.
        verified: tokens taken from an expected text.
        generated: tokens generated one by one.
    """

    greedy: tuple[Ids, ...]
    sampled: tuple[Ids, ...]
    verified: int = 0
    generated: int = 0


@dataclass(frozen=True)
class Foreseen:
    """What is known of a case before it runs under a codebook with a single entry.

    Attributes:
        fired: what becomes of the request's prompt and of the rephrase where the entry fires.
        prompts: representations of all prompts at the codebook's module, if there are any: they tell where
            it fires.
    """

    fired: tuple[Continuation, Continuation]
    prompts: Pooled | None = None


class Evaluator:
    """Runs cases under edits.

    Args:
        decoder: the unedited model.
        tokenizer: the model's.
        protocol: the reading of the study's protocol.
        seed: the study's seed, for fluency.
        read_tokens: tokens that are read together at most.
        padding: part of padding among them at most.
        fluency: whether texts are sampled.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        protocol: Protocol,
        *,
        seed: int,
        read_tokens: int,
        padding: float = 1.0,
        fluency: bool = True,
    ) -> None:
        self._tokenizer, self._protocol, self._seed = tokenizer, protocol, seed
        self._fluency = fluency
        top_k = min(FLUENCY_TOP_K, decoder.vocabulary)
        self._sampler = Sampler(FLUENCY_TOKENS, top_k, protocol.fluency_beams, tokenizer.ends)
        self._continuer = Continuer(decoder, tokenizer.ends, self._sampler, read_tokens, padding)

    def run(
        self,
        cases: Sequence[EncodedCase],
        edits: Sequence[Edit],
        baselines: Sequence[Outputs] | None,
        foreseen: Sequence[Foreseen] | None = None,
    ) -> list[Outputs]:
        """Return each case's outputs under its edit.

        Args:
            cases: a batch.
            edits: one per case.
            baselines: the unedited model's outputs, which are taken over where an edit changes
                nothing; None to make them.
            foreseen: what is known of each case, where all edits are one codebook with one entry; used for
                those that act at the prompt's end only.
        """
        before: Sequence[Outputs | None] = [None] * len(cases) if baselines is None else baselines
        known: Sequence[Foreseen | None] = [None] * len(cases) if foreseen is None else foreseen
        plans = [self._plan(*one) for one in zip(cases, edits, before, known, strict=True)]
        rows = [one for planned in plans for one in planned if isinstance(one, Row)]
        found = iter(self._continuer.continue_rows(rows))
        return [
            _collect([next(found) if isinstance(one, Row) else one for one in planned], baseline)
            for planned, baseline in zip(plans, before, strict=True)
        ]

    def fired(
        self, cases: Sequence[EncodedCase], edits: Sequence[Edit]
    ) -> list[tuple[Continuation, Continuation]]:
        """Return what becomes of each case's prompt and rephrase under an edit that fires on both."""
        rows = [
            row for case, edit in zip(cases, edits, strict=True) for row in self._rows(case, edit, None)[:2]
        ]
        found = self._continuer.continue_rows(rows)
        return list(zip(found[::2], found[1::2], strict=True))

    def _plan(
        self, case: EncodedCase, edit: Edit, baseline: Outputs | None, foreseen: Foreseen | None
    ) -> list[Row | Continuation]:
        """Return for each prompt what becomes of it, or the row to be run for that."""
        if baseline is not None and not edit.deltas:
            return [Continuation(same=True) for _ in case.prompts]
        rows: list[Row | Continuation] = [*self._rows(case, edit, baseline)]
        if foreseen is None or not edit.acts_at_prompt_end_only:
            return rows
        codebook = edit.deltas[0]
        assert isinstance(codebook, Codebook)
        if foreseen.prompts is None:
            ends = zip(rows[:2], foreseen.fired, strict=True)
            return [*(replace(row, fired=one) for row, one in ends if isinstance(row, Row)), *rows[2:]]
        fires = codebook.lookup(foreseen.prompts.of(codebook.pool).to(codebook.keys.device))[0].tolist()
        outcomes = [*foreseen.fired, *rows[2:]]
        return [
            outcome if fired else Continuation(same=True)
            for fired, outcome in zip(fires, outcomes, strict=True)
        ]

    def _rows(self, case: EncodedCase, edit: Edit, baseline: Outputs | None) -> list[Row]:
        target = len(case.request.target)
        rows = [
            Row(case.request.prompt, target, case.request.target, edit, self._noise(case, "prompt")),
            Row(case.rephrase.prompt, target, case.rephrase.target, edit, self._noise(case, "rephrase")),
        ]
        for number, neighbour in enumerate(case.neighbours):
            expected = baseline.greedy[2 + number] if baseline is not None else ()
            rows.append(Row(neighbour, SPECIFICITY_TOKENS, expected, edit))
        return rows

    def _noise(self, case: EncodedCase, prompt: str) -> Tensor | None:
        if not self._fluency:
            return None
        return self._sampler.noise(self._seed, case.case.case_id, prompt)

    def score(self, case: EncodedCase, outputs: Outputs, baseline: Outputs) -> dict[str, Any]:
        """Return the case's texts and metrics, named as the columns of a result file."""
        effectiveness, generalization, *specificity = map(self._tokenizer.decode, outputs.greedy)
        expected = [self._tokenizer.decode(ids) for ids in baseline.greedy[2:]]
        texts = [self._tokenizer.decode(ids) for ids in outputs.sampled] if self._fluency else []
        target = case.case.target
        return {
            "effectiveness_output": effectiveness,
            "generalization_output": generalization,
            "specificity_outputs": specificity,
            "specificity_expected": expected,
            "fluency_texts": texts,
            **_compare("effectiveness", [effectiveness], [target]),
            **_compare("generalization", [generalization], [target]),
            **self._specificity(specificity, expected),
            "fluency": sum(map(metrics.ngram_entropy, texts)) / len(texts) if texts else None,
            "tokens_verified": outputs.verified,
            "tokens_generated": outputs.generated,
        }

    def _specificity(self, outputs: list[str], expected: list[str]) -> dict[str, float]:
        """Both readings of exact match are kept; the protocol's is the one that tables show."""
        scores = _compare("specificity", outputs, expected)
        mean = scores["specificity_em"]
        readings = {"mean": mean, "all": float(mean == 1.0)}
        scores |= {f"specificity_em_{name}": value for name, value in readings.items()}
        scores["specificity_em"] = readings[self._protocol.specificity_em]
        return scores


def _collect(continuations: list[Continuation], baseline: Outputs | None) -> Outputs:
    """Put a case's continuations together; what the edit left alone is the baseline's."""
    greedy, sampled = [], []
    for number, continuation in enumerate(continuations):
        if continuation.same:
            assert baseline is not None
        greedy.append(baseline.greedy[number] if continuation.same and baseline else continuation.output)
        if number < 2:
            sampled.append(
                baseline.sampled[number] if continuation.same and baseline else continuation.sampled
            )
    return Outputs(
        tuple(greedy),
        tuple(sampled),
        sum(continuation.verified for continuation in continuations),
        sum(continuation.generated for continuation in continuations),
    )


def _compare(dimension: str, outputs: list[str], references: list[str]) -> dict[str, float]:
    """Compare outputs with references: exact match and ROUGE-L are means, BLEU is the corpus's."""
    pairs = list(zip(outputs, references, strict=True))
    return {
        f"{dimension}_em": sum(metrics.exact_match(*pair) for pair in pairs) / len(pairs),
        f"{dimension}_bleu": metrics.bleu([o.strip() for o in outputs], [r.strip() for r in references]),
        f"{dimension}_bleu_effective": metrics.bleu(
            [o.strip() for o in outputs], [r.strip() for r in references], effective_order=True
        ),
        f"{dimension}_rougeL": sum(metrics.rouge_l(*pair) for pair in pairs) / len(pairs),
    }
