"""Contexts: what rows have read before, with room for what comes after it."""

import pytest
import torch

from clme.models.context import Context, Past

ROWS, HEADS, SLOTS, WIDTH = 3, 2, 7, 4


def past(slots: int) -> Past:
    return Past(torch.randn(ROWS, HEADS, slots, WIDTH), torch.randn(ROWS, HEADS, slots, WIDTH))


def context() -> Context:
    return Context((past(SLOTS), None, past(SLOTS)), torch.ones(ROWS, SLOTS, dtype=torch.bool))


@torch.inference_mode()
def test_room_is_not_left_before_it_is_full() -> None:
    read = context().with_room(200)
    held = read.layers[0]
    assert held is not None
    for _ in range(40):
        new = past(5)
        longer = held.followed(new.keys, new.values)
        assert torch.equal(longer.keys, torch.cat([held.keys, new.keys], dim=2))
        assert torch.equal(longer.values, torch.cat([held.values, new.values], dim=2))
        assert longer.keys.data_ptr() == held.keys.data_ptr()
        held = longer
    full = held.followed(held.keys[:, :, :5], held.values[:, :, :5])
    assert full.keys.data_ptr() != held.keys.data_ptr()
    assert full.keys.shape[2] == SLOTS + 205


@torch.inference_mode()
def test_room_leaves_the_context_as_it_is() -> None:
    before = context()
    after = before.with_room(10)
    assert after.layers[1] is None
    for mine, other in zip(before.layers, after.layers, strict=True):
        if mine is not None and other is not None:
            assert torch.equal(mine.keys, other.keys)
            assert torch.equal(mine.values, other.values)
            assert mine.keys.data_ptr() != other.keys.data_ptr()
    assert torch.equal(before.valid, after.valid)


@torch.inference_mode()
def test_two_continuations_of_one_context_do_not_meet() -> None:
    held = context().with_room(10).layers[0]
    assert held is not None
    one, two = past(2), past(2)
    first, second = held.followed(one.keys, one.values), held.followed(two.keys, two.values)
    assert torch.equal(first.keys[:, :, SLOTS:], one.keys)
    assert torch.equal(second.keys[:, :, SLOTS:], two.keys)


@pytest.mark.parametrize("room", [0, 10])
@torch.inference_mode()
def test_slots_that_are_kept_move_together(room: int) -> None:
    before = context().with_room(room)
    kept = torch.tensor([[0, 3], [2, 1], [3, 3]])
    expected = [
        torch.stack([row[:, [*range(3), *(3 + slots)]] for row, slots in zip(keys, kept, strict=True)])
        for keys in (before.layers[0].keys.clone(), before.layers[2].keys.clone())
    ]
    after = before.keep(3, kept)
    assert after.layers[1] is None
    assert after.valid.shape == (ROWS, 5)
    for held, keys in zip((after.layers[0], after.layers[2]), expected, strict=True):
        assert torch.equal(held.keys, keys)
        new = past(2)
        longer = held.followed(new.keys, new.values)
        assert torch.equal(longer.keys, torch.cat([keys, new.keys], dim=2))
        assert longer.keys.data_ptr() == held.keys.data_ptr()
