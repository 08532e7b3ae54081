import json
import shutil

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Fast
from tokenizers import models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from clme.errors import UserError
from clme.models.text import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_models):
    return Tokenizer.load(tiny_models["llama"])


def saved(folder, vocabulary, **options):
    """A tokenizer of whole words and of a piece that crosses the border of prompt and target."""
    fast = Fast(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Split(" x", "merged_with_previous")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="<unk>", **options)
    tokenizer.save_pretrained(folder)
    return folder


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=20), st.text(min_size=1, max_size=20).filter(str.strip))
@example("sort `x`", "x.sort()")
@example("größer als 日本", "🙂 + 1")
@example("a\n\n", "\n  b")
def test_the_border_splits_the_whole_texts_tokens(tokenizer, body, target):
    prompt = f"Intent: {body}\nCode:"
    found = tokenizer.encode_request(prompt, target)
    assert found.prompt + found.target == tokenizer.encode(f"{prompt} {target}")
    assert found.prompt == tokenizer.encode(prompt)
    assert tokenizer.decode(found.target) == f" {target}"


def test_a_target_that_is_merged_into_the_prompt_is_refused(tmp_path):
    tokenizer = Tokenizer.load(saved(tmp_path, ["<unk>", "Code: x", "Code:", " y"]))
    with pytest.raises(UserError, match=r"merges the end of the prompt \('Code:'\).*target \('x'\); leave"):
        tokenizer.encode_request("Code:", "x")


@pytest.mark.parametrize("target", ["", " \n"])
def test_an_empty_target_is_refused(tokenizer, target):
    with pytest.raises(UserError, match="the target is empty; give it text, or leave the case out"):
        tokenizer.encode_request("Intent: a\nCode:", target)


def test_no_special_tokens_are_added(tiny_models, tmp_path):
    shutil.copytree(tiny_models["llama"], tmp_path / "m")
    fast = Fast.from_file(str(tmp_path / "m" / "tokenizer.json"))
    fast.post_processor = processors.TemplateProcessing(
        single="<end> $A <end>", special_tokens=[("<end>", 0)]
    )
    fast.save(str(tmp_path / "m" / "tokenizer.json"))
    assert AutoTokenizer.from_pretrained(tmp_path / "m")("ab").input_ids[0] == 0
    tokenizer = Tokenizer.load(tmp_path / "m")
    found = tokenizer.encode_request("Code:", "x = 1")
    assert 0 not in found.prompt + found.target
    assert 0 not in tokenizer.encode("x = 1")
    assert tokenizer.decode((*found.target, 0)) == " x = 1"


@pytest.mark.parametrize(("ends", "expected"), [(7, {7}), ([7, 9], {7, 9}), (None, {0})])
def test_texts_end_where_generate_would_stop(tiny_models, tmp_path, ends, expected):
    shutil.copytree(tiny_models["llama"], tmp_path / "m")
    path = tmp_path / "m" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": ends}))
    assert Tokenizer.load(tmp_path / "m").ends == expected
    path.unlink()
    assert Tokenizer.load(tmp_path / "m").ends == {0}


def test_folders_without_a_usable_tokenizer(tiny_models, tmp_path):
    with pytest.raises(UserError, match="no tokenizer can be loaded from here"):
        Tokenizer.load(tmp_path)
    shutil.copytree(tiny_models["llama"], tmp_path / "m")
    whole = (tmp_path / "m" / "tokenizer.json").read_bytes()
    for content in (whole[:-100], b"{}", b""):
        (tmp_path / "m" / "tokenizer.json").write_bytes(content)
        with pytest.raises(UserError, match="no tokenizer can be loaded from here") as error:
            Tokenizer.load(tmp_path / "m")
        assert "\n" not in str(error.value)
