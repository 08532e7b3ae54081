"""What a side measures of its calls: seconds, peak memory, tokens, operations; and the machine's own peak."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from clme.study.measure import Meter

Result = TypeVar("Result")


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Count both products of attention; the shapes are [rows, heads, tokens, head_dim]."""
    rows, heads, tokens, width = query
    return 2 * rows * heads * tokens * key[2] * (width + value[3])


def _attention_backward(_: Sequence[int], *shapes: Sequence[int], **__: Any) -> int:
    """Count the five products of attention's gradient, the scores' recomputation included."""
    return 5 * _attention(*shapes[:3]) // 2


# PyTorch's counter knows the accelerators' attention only.
_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class Gauge:
    """Adds up what the parts of a run take.

    Operations are those of matrix products and attention (two for each multiplication and addition), counted
    from the shapes that PyTorch is given, of the backward passes too; those of solving linear systems are
    not among them. Tokens are positions that the layers are run over, padding included, divided by the number
    of layers: a position that goes through half of the layers is half a token.

    Args:
        layers: the model's.
        device: where it is.
        counting: count operations and tokens, which takes time; otherwise they are None.
    """

    def __init__(self, layers: Sequence[nn.Module], device: torch.device, *, counting: bool) -> None:
        self._layers, self._counting = layers, counting
        self._meter = Meter(device)
        self.parts: dict[str, dict[str, Any]] = {}

    def run(self, part: str, call: Callable[[], Result]) -> Result:
        """Run a call and add what it took to a part."""
        kept: list[Result] = []
        counter = FlopCounterMode(display=False, custom_mapping=_ON_CPU)
        positions = 0

        def counted(_: nn.Module, __: Any, output: Tensor) -> None:
            nonlocal positions
            positions += output.shape[0] * output.shape[1]

        def measured() -> None:
            if not self._counting:
                kept.append(call())
                return
            hooks = [layer.register_forward_hook(counted) for layer in self._layers]
            with counter:
                kept.append(call())
            for hook in hooks:
                hook.remove()

        cost = self._meter.measure(measured)
        sums = self.parts.setdefault(
            part, {"seconds": 0.0, "peak_memory_mb": None, "flops": None, "tokens": None}
        )
        sums["seconds"] += cost.seconds
        if self._counting:
            sums["peak_memory_mb"] = max(sums["peak_memory_mb"] or 0.0, cost.peak_memory_mb or 0.0)
            sums["flops"] = (sums["flops"] or 0) + counter.get_total_flops()
            sums["tokens"] = (sums["tokens"] or 0.0) + positions / len(self._layers)
        return kept[0]


def matmul_peak(device: torch.device, dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Return the machine's fastest matrix product in operations per second.

    Args:
        device: where.
        dtype: of the factors.
        seconds: how long each of some sizes is tried.
    """
    return max(_matmul_speed(device, dtype, size, seconds) for size in (256, 512, 1024))


def _matmul_speed(device: torch.device, dtype: torch.dtype, size: int, seconds: float) -> float:
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not best:
        start = time.perf_counter()
        torch.mm(left, right)
        if device.type != "cpu":
            torch.accelerator.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best
