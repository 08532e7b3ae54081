"""Rows of like length together, so that little of what is computed is padding."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def alike(lengths: Sequence[int], padding: float) -> list[list[int]]:
    """Part rows into groups of like length.

    Args:
        lengths: of the rows, in tokens.
        padding: the part of padding in a group at most, from 0 to 1.

    Returns:
        The numbers of the rows in each group, the longest rows first.
    """
    groups: list[list[int]] = []
    filled = 0
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        longest = lengths[groups[-1][0]] if groups else 0
        filled += lengths[number]
        if not groups or filled < (1 - padding) * longest * (len(groups[-1]) + 1):
            groups.append([number])
            filled = lengths[number]
        else:
            groups[-1].append(number)
    return groups


def evenly(costs: Sequence[int], limit: int) -> list[list[int]]:
    """Part rows into as few parts as a limit allows, each with about as many rows.

    Args:
        costs: of the rows; each row of a part costs as much as the dearest one in it.
        limit: of a part's cost; a row that is above it alone is a part of its own.

    Returns:
        The numbers of the rows in each part, the cheapest rows first.
    """
    ordered = sorted(range(len(costs)), key=lambda number: (costs[number], number))
    for count in range(1, len(ordered) + 1):
        bounds = [len(ordered) * part // count for part in range(count + 1)]
        parts = [ordered[start:stop] for start, stop in pairwise(bounds)]
        if all(len(part) == 1 or len(part) * costs[part[-1]] <= limit for part in parts):
            return parts
    return []


def in_groups(
    items: Sequence[Item],
    lengths: Sequence[int],
    padding: float,
    call: Callable[[list[Item]], Sequence[Result]],
) -> list[Result]:
    """Hand items over in groups of like length, and return the results in the items' order.

    Args:
        items: any number.
        lengths: of each, in tokens.
        padding: as `alike` has it.
        call: returns a result for each item of a group.
    """
    found: dict[int, Result] = {}
    for group in alike(lengths, padding):
        found |= zip(group, call([items[number] for number in group]), strict=True)
    return [found[number] for number in range(len(items))]
