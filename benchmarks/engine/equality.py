"""Whether this engine's greedy outputs are the plain reference's, and by how much those that are not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TIE = 1e-4
"""Two logits that are not further apart are a tie: rounding decides which one is taken."""


Outputs = Mapping[str, Sequence[Sequence[int]]]


def compared(
    dataset: str, row: str, answers: Mapping[str, Mapping[str, Any]], unedited: Outputs | None
) -> list[dict[str, Any]]:
    """Compare each way of running with the plain reference, on the cases that both have.

    Args:
        dataset: whose cases they are.
        row: the editor.
        answers: the sides' answers, by way of running; see `protocol.py`.
        unedited: what the reference says without an edit, if that is known.

    Returns:
        For each way, how many cases and prompts were compared; in how many cases the edit changes what the
        reference says to the request's prompt; and the prompts whose outputs are not the reference's: where,
        and the margin of its choice there.
    """
    plain = answers["plain"]
    found = []
    for way, answer in answers.items():
        if way == "plain" or not answer.get("outputs"):
            continue
        names = [name for name in plain["outputs"] if name in answer["outputs"]]
        kept = [name for name in names if name not in answer["failed"]]
        differing = [one for name in kept for one in _differing(name, answer["outputs"][name], plain)]
        found.append(
            {
                "dataset": dataset,
                "row": row,
                "way": way,
                "cases": len(kept),
                "prompts": sum(len(plain["outputs"][name]) for name in kept),
                "changed": unedited and sum(plain["outputs"][name][0] != unedited[name][0] for name in kept),
                "cases_differing": len({one["case"] for one in differing if not one["tie"]}),
                "differing": differing,
            }
        )
    return found


def _differing(
    name: str, outputs: Sequence[Sequence[int]], plain: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for number, (ours, theirs) in enumerate(zip(outputs, plain["outputs"][name], strict=True)):
        if list(ours) == list(theirs):
            continue
        place = next(
            (at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None
        )
        if place is None:  # one goes on where the other has ended
            yield {"case": name, "prompt": number, "place": min(len(ours), len(theirs)), "tie": False}
            continue
        margin = plain["margins"][name][number][place]
        second = plain["runners_up"][name][number][place] == ours[place]
        yield {
            "case": name,
            "prompt": number,
            "place": place,
            "margin": margin,
            "second": second,
            "tie": second and margin <= TIE,
        }
