"""Conversion of a GGUF file to plain safetensors."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from clme.errors import UserError, first_line


@torch.no_grad()
def convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF model's weights (dequantised to float32), configuration and tokenizer to a folder.

    A model that was loaded from GGUF refuses to be saved, so its state is copied into a fresh model of
    the same class; both must give the same logits.

    Raises:
        UserError: the file can't be read, or the copy differs.
    """
    logging.disable_progress_bar()
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    except Exception as error:  # damaged files raise all kinds
        raise UserError(f"{gguf}: can't be read as a GGUF model ({first_line(error)})") from error
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    fresh: PreTrainedModel = type(loaded)(loaded.config).eval()
    fresh.load_state_dict(loaded.state_dict())
    ids = torch.arange(1, 33)[None] % loaded.config.vocab_size
    if not torch.equal(fresh(input_ids=ids).logits, loaded.eval()(input_ids=ids).logits):
        raise UserError(f"{gguf}: its copy gives other logits; this kind of GGUF file isn't supported")
    fresh.generation_config.eos_token_id = tokenizer.eos_token_id
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
