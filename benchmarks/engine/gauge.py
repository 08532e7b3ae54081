"""What a side measures of its calls: seconds, peak memory, tokens, operations; and the machine's own peak."""

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, register_flop_formula

from clme.study.measure import Meter

Result = TypeVar("Result")


@register_flop_formula(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu)
def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Count both products of attention; shapes are [rows, heads, tokens, width].

    PyTorch knows those of accelerators only.
    """
    rows, heads, tokens, width = query
    return 2 * rows * heads * tokens * key[2] * (width + value[3])


@register_flop_formula(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _attention_backward(
    _: Sequence[int], query: Sequence[int], key: Sequence[int], value: Sequence[int], *__: Any, **___: Any
) -> int:
    """Count the five products of attention's gradient, the scores' recomputation included."""
    rows, heads, tokens, width = query
    return 5 * rows * heads * tokens * key[2] * (width + value[3])


class Operations(TorchDispatchMode):
    """Counts the operations of matrix products and attention by the formulas of PyTorch's own counter.

    That one also tells modules apart, for which it takes several times as long.
    """

    total = 0
    _simple: ClassVar[set[Any]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take composite operators apart; count, and run, the others."""
        kwargs = kwargs or {}
        count = flop_registry.get(func.overloadpacket)
        if count is None and func not in self._simple:
            with self:
                found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
            self._simple.add(func)
        out = func(*args, **kwargs)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=out)
        return out


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
        counter = Operations()
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
        sums["peak_memory_mb"] = max(sums["peak_memory_mb"] or 0.0, cost.peak_memory_mb or 0.0)
        if self._counting:
            sums["flops"] = (sums["flops"] or 0) + counter.total
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
