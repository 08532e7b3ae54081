"""Contexts: sampled once per model, seeded, ten tokens each."""

import pytest
import torch

from clme.editors.contexts import STARTS, TOKENS, Contexts, need
from clme.errors import UserError
from clme.models.decoder import Decoder
from clme.models.text import Tokenizer
from clme.study import contexts, prepare
from clme.study.settings import PrepareSettings
from clme.tensors import read_tensor_metadata, write_tensors


def make(model, output, seed=0):
    settings = PrepareSettings(model="tiny", need=dict(need(seed).settings))
    prepare.run("contexts", model, None, {}, settings, output.parent / "journals", output)
    return Contexts.load(output, 5), read_tensor_metadata(output)["texts"]


def test_five_texts_and_the_bare_prompt(tiny_models, tmp_path):
    tokenizer = Tokenizer.load(tiny_models["stablelm"])
    found, texts = make(tiny_models["stablelm"], tmp_path / "c.safetensors")
    assert found.prefixes[0] == ()
    assert texts[0] == ""
    assert len(found.prefixes) == 1 + len(STARTS)
    for prefix, text, start in zip(found.prefixes[1:], texts[1:], STARTS, strict=True):
        assert text.startswith(start)
        assert text.endswith(".")
        assert tokenizer.encode(text) == prefix


def test_tokens_are_drawn_from_the_likeliest_five(tiny_models):
    model = tiny_models["llama"]
    decoder, tokenizer = Decoder.load(model), Tokenizer.load(model)
    ranks = []
    for start, ids in zip(STARTS, contexts.sample(decoder, tokenizer, 0), strict=True):
        given = len(tokenizer.encode(start))
        assert ids[:given] == tokenizer.encode(start)
        assert len(ids) == TOKENS
        with torch.no_grad():
            logits = decoder.model(input_ids=torch.tensor([ids])).logits[0]
        likely = logits.topk(5, dim=1).indices.tolist()
        ranks += [likely[place - 1].index(ids[place]) for place in range(given, TOKENS)]
    assert set(ranks) == set(range(5))


def test_the_seed_decides(tiny_models, tmp_path):
    first, _ = make(tiny_models["qwen2"], tmp_path / "a.safetensors")
    same, _ = make(tiny_models["qwen2"], tmp_path / "b.safetensors")
    other, _ = make(tiny_models["qwen2"], tmp_path / "c.safetensors", seed=1)
    assert first == same
    assert first != other


def test_another_file_is_refused(tmp_path):
    write_tensors(tmp_path / "x.safetensors", {"ids": torch.arange(3)}, {})
    with pytest.raises(UserError, match="holds too few contexts; make it anew by `clme prepare contexts`"):
        Contexts.load(tmp_path / "x.safetensors", 5)


def test_where_fewer_are_wanted_they_are_the_first(tiny_models, tmp_path):
    found, _ = make(tiny_models["llama"], tmp_path / "c.safetensors")
    assert Contexts.load(tmp_path / "c.safetensors", 2).prefixes == found.prefixes[:3]
