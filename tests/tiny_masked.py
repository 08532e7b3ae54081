"""A tiny masked language model; apart from `tiny`, whose own text its tokenizer is trained on."""

from pathlib import Path

import torch
from transformers import RobertaConfig, RobertaForMaskedLM

from tiny import SIZES, _tokenizer


def build_masked_model(folder: Path, seed: int = 0) -> Path:
    """Save a random masked language model of RoBERTa's kind; returns the folder."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = RobertaConfig(
        vocab_size=SIZES["vocab_size"], **sizes, max_position_embeddings=514, pad_token_id=1
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder
