import pydantic
import pytest

from clme.editors import registry
from clme.evaluation.protocol import FLUENCY_TOKENS, FLUENCY_TOP_K, PROTOCOLS, SPECIFICITY_TOKENS, Protocol


def test_two_readings_of_the_protocol():
    assert set(PROTOCOLS) == {"paper", "released"}
    paper, released = PROTOCOLS["paper"], PROTOCOLS["released"]
    assert (paper.name, released.name) == ("paper", "released")
    assert (paper.specificity_em, released.specificity_em) == ("mean", "all")
    assert paper.fluency_beams > 1, "the paper: beam search"
    assert released.fluency_beams == 1
    assert (SPECIFICITY_TOKENS, FLUENCY_TOKENS, FLUENCY_TOP_K) == (16, 64, 5)


def test_a_protocol_is_checked():
    with pytest.raises(pydantic.ValidationError):
        Protocol(name="x", specificity_em="median", fluency_beams=1, grace_decoding=False)


@pytest.mark.parametrize("name", registry.names())
def test_what_the_released_code_does_otherwise_are_hyperparameters(name):
    """Every editor's `released` choices fit its configuration; only that protocol has them."""
    editor = registry.editor(name)
    paper, released = editor.configured("paper", {}), editor.configured("released", {})
    assert paper == editor.Config()
    for key, value in editor.released.items():
        assert getattr(released, key) == value


def test_grace_compares_decoded_tokens_as_the_protocol_says():
    grace = registry.editor("grace")
    for name, protocol in PROTOCOLS.items():
        assert grace.configured(name, {}).decoding == protocol.grace_decoding


def test_a_models_own_hyperparameters_go_over_the_protocols():
    ft_l = registry.editor("ft_l")
    assert ft_l.configured("released", {}).steps == 25
    assert ft_l.configured("released", {"steps": 7}).steps == 7
