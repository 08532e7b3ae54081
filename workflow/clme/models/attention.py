"""Attention in which heads that share keys and values read them once, instead of a copy for each head."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "clme_grouped"


def share_heads(model: PreTrainedModel) -> None:
    """Make a model use this attention.

    Decoding reads few tokens after many, where copies of keys and values would take most of the time.
    """
    AttentionInterface.register(_NAME, _grouped)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)


def _grouped(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend, with the queries of heads that share keys laid one after the other.

    Args:
        query: [rows, heads, tokens, head_dim].
        key: [rows, shared heads, slots, head_dim], and `value` alike.
        attention_mask: [rows, 1, tokens, slots], added to the scores if it isn't boolean.

    Returns:
        [rows, tokens, heads, head_dim], and no weights.
    """
    if attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, **options)
    rows, heads, tokens, width = query.shape
    shared = key.shape[1]
    together = query.reshape(rows, shared, heads // shared * tokens, width)
    mask = attention_mask.repeat(1, 1, heads // shared, 1)
    found = scaled_dot_product_attention(together, key, value, attn_mask=mask, scale=scaling)
    return found.reshape(query.shape).transpose(1, 2).contiguous(), None
