"""Rows of an optimisation that leave the batch when they have finished."""

from collections.abc import Sequence

import torch
from torch import Tensor


def shrink(
    parameter: Tensor, optimizer: torch.optim.Adam, staying: Sequence[int]
) -> tuple[Tensor, torch.optim.Adam]:
    """Keep the rows that go on, with Adam's moments.

    Args:
        parameter: [rows, ...], the only one of the optimizer, after a step at least.
        optimizer: of the parameter.
        staying: numbers of the rows that are kept.
    """
    index = list(staying)
    state = optimizer.state[parameter]
    kept = parameter.detach()[index].requires_grad_(True)
    shrunk = torch.optim.Adam([kept], lr=optimizer.param_groups[0]["lr"])
    shrunk.state[kept] = {
        "step": state["step"],
        "exp_avg": state["exp_avg"][index],
        "exp_avg_sq": state["exp_avg_sq"][index],
    }
    return kept, shrunk
