"""The cases of a dataset as a job reads them: validated, selected, tokenised."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clme.datasets.schema import CASES
from clme.errors import UserError
from clme.evaluation.protocol import FLUENCY_TOKENS, SPECIFICITY_TOKENS
from clme.files import read_parquet
from clme.models.text import EncodedRequest, Tokenizer
from clme.study.settings import Selection, Training

SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class Case:
    """One case of the benchmark; prompts are texts with the template applied."""

    case_id: str
    fold: int
    prompt: str
    rephrase: str
    target: str
    neighbours: tuple[str, ...]


@dataclass(frozen=True)
class EncodedCase:
    """A case in a model's tokens."""

    case: Case
    request: EncodedRequest
    rephrase: EncodedRequest
    neighbours: tuple[tuple[int, ...], ...]

    @property
    def prompts(self) -> tuple[tuple[int, ...], ...]:
        """The prompts that are evaluated: the request's, the rephrase, the neighbours."""
        return (self.request.prompt, self.rephrase.prompt, *self.neighbours)


def read_cases(path: Path) -> list[Case]:
    """Read and validate a dataset's cases.

    Raises:
        UserError: the file is not as a dataset's cases are; the first bad row is named.
    """
    frame = read_parquet(path, schema=CASES)
    cases = []
    seen: set[str] = set()
    for number, row in enumerate(frame.to_dict("records")):
        case = Case(
            fold=int(row["fold"]),
            neighbours=tuple(row["neighbours"]),
            **{name: row[name] for name in ("case_id", "prompt", "rephrase", "target")},
        )
        _check_row(case, f"{path}: row {number}")
        if case.case_id in seen:
            raise UserError(f"{path}: row {number}: case {case.case_id} is there twice; drop one of the rows")
        seen.add(case.case_id)
        cases.append(case)
    return cases


def _check_row(case: Case, where: str) -> None:
    for name in ("case_id", "prompt", "rephrase", "target"):
        text = getattr(case, name)
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where} (case {case.case_id}): `{name}` is empty; mend or drop the row")
    if not case.neighbours or not all(isinstance(text, str) and text for text in case.neighbours):
        raise UserError(f"{where} (case {case.case_id}): an empty neighbour; mend or drop the row")


def select(cases: Sequence[Case], selection: Selection) -> list[Case]:
    """Return the selected cases, in the dataset's order.

    Raises:
        UserError: an excluded case does not exist, or nothing is left.
    """
    unknown = set(selection.exclude) - {case.case_id for case in cases}
    if unknown:
        raise UserError(f"evaluation.exclude: no such case: {', '.join(sorted(unknown))}")
    kept = [case for case in cases if case.case_id not in selection.exclude]
    stop = None if selection.cases is None else selection.skip + selection.cases
    chosen = kept[selection.skip : stop]
    if not chosen:
        raise UserError(
            f"evaluation: skipping {selection.skip} of {len(kept)} cases leaves none; lower `evaluation.skip`"
        )
    return chosen


def outside(cases: Sequence[Case], fold: int, selection: Selection, training: Training) -> list[Case]:
    """Return the cases outside of a fold, which its editors are trained on, in the dataset's order."""
    kept = [case for case in cases if case.fold != fold and case.case_id not in selection.exclude]
    return kept[: training.cases]


def encode(cases: Sequence[Case], tokenizer: Tokenizer, max_tokens: int, path: Path) -> list[EncodedCase]:
    """Tokenise the cases, making sure that each fits the model before anything is computed.

    Args:
        cases: the cases to be used.
        tokenizer: the model's.
        max_tokens: length of the model's context.
        path: named in errors.

    Raises:
        UserError: cases with a prompt that is too long, or a target that is merged into the prompt;
            the first few are named.
    """
    encoded, problems = [], []
    for case in cases:
        try:
            found = EncodedCase(
                case,
                tokenizer.encode_request(case.prompt, case.target),
                tokenizer.encode_request(case.rephrase, case.target),
                tuple(tokenizer.encode(neighbour) for neighbour in case.neighbours),
            )
            _check_length(found, max_tokens)
            encoded.append(found)
        except UserError as error:
            problems.append(f"{case.case_id}: {error}")
    if problems:
        shown = "; ".join(problems[:SHOWN_PROBLEMS]) + ("; ..." if len(problems) > SHOWN_PROBLEMS else "")
        raise UserError(
            f"{path}: {len(problems)} of {len(cases)} cases can't be used with this model: {shown}."
            " Leave them out by `evaluation.exclude`"
        )
    return encoded


def _check_length(case: EncodedCase, max_tokens: int) -> None:
    new = max(len(case.request.target), FLUENCY_TOKENS, SPECIFICITY_TOKENS)
    longest = max(map(len, case.prompts)) + new
    if longest > max_tokens:
        raise UserError(
            f"a prompt needs {longest} tokens with its continuation, the model reads {max_tokens} at most"
        )
