"""Rows of like length together."""

import numpy as np
import pytest

from clme.padding import alike, evenly, in_groups


@pytest.mark.parametrize("limit", [0.0, 0.2, 0.5, 1.0])
def test_padding_stays_within_its_limit_and_no_row_is_lost(limit):
    lengths = np.random.default_rng(0).integers(1, 60, 50).tolist()
    found = alike(lengths, limit)
    assert sorted(number for group in found for number in group) == list(range(50))
    for group in found:
        filled, longest = sum(lengths[n] for n in group), lengths[group[0]]
        assert longest == max(lengths[n] for n in group)
        assert longest * len(group) - filled <= limit * longest * len(group)


def test_no_limit_is_one_group_and_none_at_all_a_group_for_each_length():
    lengths = [3, 1, 3, 2]
    assert alike(lengths, 1.0) == [[0, 2, 3, 1]]
    assert alike(lengths, 0.0) == [[0, 2], [3], [1]]
    assert alike([], 0.5) == []


def test_parts_are_few_and_of_like_size():
    assert evenly([10] * 20, 200) == [list(range(20))]
    assert list(map(len, evenly([10] * 20, 170))) == [10, 10]
    assert evenly([1, 50, 2, 50], 60) == [[0], [2], [1], [3]]
    assert evenly([99, 1], 60) == [[1], [0]]
    assert evenly([], 60) == []


def test_results_come_in_the_order_of_the_items():
    handed = []

    def call(group):
        handed.append(group)
        return [text.upper() for text in group]

    assert in_groups(["ccc", "a", "cc", "b"], [3, 1, 2, 1], 0.0, call) == ["CCC", "A", "CC", "B"]
    assert handed == [["ccc"], ["cc"], ["a", "b"]]
