"""Tiny random language models of the three families, for tests."""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    StableLmConfig,
    StableLmForCausalLM,
)

CORPUS = Path(__file__).with_name("tiny_corpus.txt")
"""What the tokenizer is trained on. The tests' thresholds fit these models: another text gives others."""

SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "initializer_range": 0.08,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=4, tie_word_embeddings=False)),
    "stablelm": lambda: StableLmForCausalLM(
        StableLmConfig(**SIZES, num_key_value_heads=4, tie_word_embeddings=False, partial_rotary_factor=0.25)
    ),
}


def build(family: str, folder: Path, seed: int = 0) -> Path:
    """Save a random model of a family with its tokenizer; returns the folder."""
    torch.manual_seed(seed)
    model = FAMILIES[family]()
    with torch.no_grad():
        # Biases start at zero, which would hide an implementation that forgets them.
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.1)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def build_encoder(folder: Path, seed: int = 0) -> Path:
    """Save a random sentence encoder; returns the folder."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=SIZES["vocab_size"], **sizes)).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


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


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"],
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([CORPUS.read_text(encoding="utf-8")] * 2, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


def build_all(folder: Path) -> None:
    """Save what `workflow/presets/smoke.yaml` names: a model of each family and an encoder."""
    for family in FAMILIES:
        build(family, folder / family)
    build_encoder(folder / "encoder")


if __name__ == "__main__":
    build_all(Path(sys.argv[1]))
