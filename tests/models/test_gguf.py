import json

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from clme.errors import UserError
from clme.models.gguf import convert

HEADS, KV_HEADS, DEPTH = 4, 2, 6
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(scope="module")
def original(tiny_models):
    return AutoModelForCausalLM.from_pretrained(tiny_models["llama"]).eval()


def interleaved(weight, heads):
    """The rows of queries and keys as GGUF has them: the two halves of each head alternate."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write(path, model, tokenizer, kind):
    """Write a Llama to GGUF, its matrices in a quantisation."""
    writer = gguf.GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(DEPTH)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] + [1] * (len(vocabulary) - 1))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(0)
    for name, weight in tensors(model):
        quantised = weight if weight.ndim == 1 else gguf.quants.quantize(weight, kind)
        raw = None if weight.ndim == 1 or kind == gguf.GGMLQuantizationType.F32 else kind
        writer.add_tensor(name, quantised, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(model):
    state = {name: weight.numpy() for name, weight in model.state_dict().items()}
    yield "token_embd.weight", state["model.embed_tokens.weight"]
    yield "output_norm.weight", state["model.norm.weight"]
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}
    for layer in range(DEPTH):
        for mine, theirs in NAMES.items():
            weight = state[f"model.layers.{layer}.{mine}.weight"]
            yield (
                f"blk.{layer}.{theirs}.weight",
                interleaved(weight, heads[theirs]) if theirs in heads else weight,
            )


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 1e-5), ("Q8_0", 0.05)])
def test_a_written_model_comes_back(original, tiny_models, tmp_path, kind, tolerance):
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama"])
    write(tmp_path / "m.gguf", original, tokenizer, gguf.GGMLQuantizationType[kind])
    convert(tmp_path / "m.gguf", tmp_path / "out")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", use_safetensors=True)
    assert {weight.dtype for weight in found.state_dict().values()} == {torch.float32}
    assert found.generation_config.eos_token_id == 0
    ids = torch.arange(40)[None]
    with torch.no_grad():
        logits, expected = found(input_ids=ids).logits, original(input_ids=ids).logits
    assert (logits - expected).norm() / expected.norm() <= tolerance
    again = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "Intent: sort `größe`\nCode: x.sort()"
    assert again(text).input_ids == tokenizer(text).input_ids


def test_a_damaged_file_is_refused(original, tiny_models, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama"])
    write(tmp_path / "m.gguf", original, tokenizer, gguf.GGMLQuantizationType.F32)
    whole = (tmp_path / "m.gguf").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:10], b"", b"GGML" + whole[4:]):
        (tmp_path / "m.gguf").write_bytes(content)
        with pytest.raises(UserError, match=r"m\.gguf: can't be read as a GGUF model") as error:
            convert(tmp_path / "m.gguf", tmp_path / "out")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
