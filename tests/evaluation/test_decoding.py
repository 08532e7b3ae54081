import copy

import pytest
import torch

from clme.edits import Codebook, Dense, Edit, LowRank
from clme.evaluation.decoding import Continuer, Row
from clme.evaluation.sampling import Sampler, largest
from clme.models.decoder import Decoder, Site, padded
from reference import generate, replaced_output

MODULE = "mlp.down_proj"
SITE = Site(3, MODULE)
PROMPTS = [(5, 9, 33, 7, 101, 64, 12, 80), (17, 200, 3), (44, 6, 91, 150, 23), (8,)]
TOKENS = 9


@pytest.fixture(scope="module", params=["llama", "qwen2", "stablelm"])
def decoder(request, tiny_models):
    return Decoder.load(tiny_models[request.param])


def continuer(decoder, *, ends=frozenset(), beams=1, top_k=5, batch_tokens=1000, tokens=TOKENS, padding=1.0):
    return Continuer(decoder, ends, Sampler(tokens, top_k, beams, ends), batch_tokens, padding)


def outputs(decoder, rows, **options):
    return [found.output for found in continuer(decoder, **options).continue_rows(rows)]


@pytest.mark.parametrize(
    ("batch_tokens", "padding"), [(1, 1.0), (12, 1.0), (1000, 1.0), (1000, 0.4), (1000, 0.0)]
)
def test_greedy_equals_generate(decoder, batch_tokens, padding):
    rows = [Row(prompt, TOKENS, (), Edit()) for prompt in PROMPTS]
    expected = [generate(decoder.model, prompt, TOKENS, eos_token_id=None) for prompt in PROMPTS]
    assert len(set(expected)) > 1
    assert outputs(decoder, rows, batch_tokens=batch_tokens, padding=padding) == expected


def test_end_tokens_end_a_text(decoder):
    plain = [generate(decoder.model, prompt, TOKENS, eos_token_id=None) for prompt in PROMPTS]
    end = plain[0][4]
    rows = [Row(prompt, TOKENS, (), Edit()) for prompt in PROMPTS]
    expected = [text[: text.index(end) + 1] if end in text else text for text in plain]
    assert outputs(decoder, rows, ends=frozenset({end})) == expected


@pytest.mark.parametrize("right", [0, 1, 4, TOKENS])
def test_verification_changes_no_token(decoder, right):
    """The expectation is right up to a place and wrong after it; its length varies too."""
    expected = [generate(decoder.model, prompt, TOKENS, eos_token_id=None) for prompt in PROMPTS]
    guesses = [text[:right] + tuple((token + 1) % 512 for token in text[right:]) for text in expected]
    guesses[1] = guesses[1][: right + 1]
    guesses[2] = ()
    rows = [Row(p, TOKENS, guess, Edit()) for p, guess in zip(PROMPTS, guesses, strict=True)]
    found = continuer(decoder).continue_rows(rows)
    assert [one.output for one in found] == expected
    assert [one.verified for one in found] == [right, right, 0, right]
    assert all(one.verified + one.generated == TOKENS for one in found)


def test_an_expected_end_is_verified(decoder):
    text = generate(decoder.model, PROMPTS[0], TOKENS, eos_token_id=None)
    end = text[4]
    stop = text.index(end) + 1
    (found,) = continuer(decoder, ends=frozenset({end})).continue_rows(
        [Row(PROMPTS[0], TOKENS, text[:stop], Edit())]
    )
    assert found.output == text[:stop]
    assert found.generated == 0


def test_rows_under_weight_edits_equal_changed_models(decoder):
    torch.manual_seed(1)
    weight = decoder.linear(SITE).weight
    edits = [
        Edit((Dense(SITE, weight + 0.2 * torch.randn_like(weight)),)),
        Edit((LowRank(SITE, torch.randn(weight.shape[0], 2), 0.3 * torch.randn(2, weight.shape[1])),)),
    ]
    rows, expected = [], []
    for prompt in PROMPTS:
        for edit in edits:
            changed = copy.deepcopy(decoder.model)
            (delta,) = edit.deltas
            with torch.no_grad():
                target = changed.base_model.layers[3].get_submodule(MODULE).weight
                target.copy_(delta.weight if isinstance(delta, Dense) else target + delta.left @ delta.right)
            expected.append(generate(changed, prompt, TOKENS, eos_token_id=None))
            unedited = generate(decoder.model, prompt, TOKENS, eos_token_id=None)
            rows.append(Row(prompt, TOKENS, unedited, edit))
    assert outputs(decoder, rows) == expected


def codebook_for(decoder, prompt, *, radius=0.01, decoding=False):
    seen = []
    decoder.read(*padded([prompt], decoder.device), hooks=[(SITE, lambda x, _: seen.append(x[:, -1]))])
    value = 3 * torch.randn(1, decoder.linear(SITE).out_features, generator=torch.Generator().manual_seed(2))
    return Codebook(SITE, seen[0], value, torch.tensor([radius]), decoding)


@pytest.mark.parametrize("padding", [0.0, 0.6, 1.0])
def test_codebooks_run_only_where_they_fire(decoder, padding):
    edit = Edit((codebook_for(decoder, PROMPTS[0]),))
    (delta,) = edit.deltas
    rows = [Row(prompt, TOKENS, (), edit) for prompt in PROMPTS]
    found = continuer(decoder, padding=padding).continue_rows(rows)
    assert [one.same for one in found] == [False, True, True, True]
    with replaced_output(decoder.model, 3, MODULE, len(PROMPTS[0]) - 1, delta.values[0]):
        expected = generate(decoder.model, PROMPTS[0], TOKENS, eos_token_id=None)
    assert found[0].output == expected
    assert expected != generate(decoder.model, PROMPTS[0], TOKENS, eos_token_id=None)


def test_codebooks_that_listen_while_decoding(decoder):
    """The key is that of a token in the middle of the continuation: it fires there and not at the prompt."""
    text = generate(decoder.model, PROMPTS[0], TOKENS, eos_token_id=None)
    middle = (*PROMPTS[0], *text[:4])
    listening = codebook_for(decoder, middle, decoding=True)
    (found,) = continuer(decoder).continue_rows([Row(PROMPTS[0], TOKENS, text, Edit((listening,)))])
    with replaced_output(decoder.model, 3, MODULE, len(middle) - 1, listening.values[0]):
        rest = generate(decoder.model, middle, TOKENS - 4, eos_token_id=None)
    assert found.output == text[:4] + rest
    assert rest != text[4:]
    deaf = codebook_for(decoder, middle)
    (found,) = continuer(decoder).continue_rows([Row(PROMPTS[0], TOKENS, text, Edit((deaf,)))])
    assert found.same


@pytest.mark.parametrize("tokens", [TOKENS, 40])
def test_beams_without_noise_are_beam_search(decoder, tokens):
    """With no noise the draw takes the best candidates, which is beam search over the top 2 x beams."""
    rows = [Row(prompt, 1, (), Edit(), torch.zeros(tokens, 3 * 6)) for prompt in PROMPTS]
    found = continuer(decoder, beams=3, top_k=6, tokens=tokens).continue_rows(rows)
    for prompt, one in zip(PROMPTS, found, strict=True):
        assert one.sampled == generate(decoder.model, prompt, tokens, num_beams=3, eos_token_id=None)


def test_what_no_beam_continues_is_forgotten(decoder):
    tokens, beams = 40, 5
    sampler = Sampler(tokens, 5, beams, frozenset())
    rows = [Row(p, 1, (), Edit(), sampler.noise(3, f"case {n}")) for n, p in enumerate(PROMPTS)]
    slots = []

    def note(_, __, options):
        slots.append(options["attention_mask"].shape[-1])

    handle = decoder.layers[0].register_forward_pre_hook(note, with_kwargs=True)
    Continuer(decoder, frozenset(), sampler, 10_000).continue_rows(rows)
    handle.remove()
    longest = max(map(len, PROMPTS))
    assert len(slots) == tokens
    assert max(slots) <= longest + sampler.held < longest + tokens * beams


@pytest.mark.parametrize(("beams", "padding"), [(1, 1.0), (3, 1.0), (3, 0.4)])
def test_samples_belong_to_the_text_not_to_the_batch(decoder, beams, padding):
    made = continuer(decoder, beams=beams, padding=padding)
    sampler = Sampler(TOKENS, 5, beams, frozenset())
    rows = [Row(p, 1, (), Edit(), sampler.noise(7, f"case {n}")) for n, p in enumerate(PROMPTS)]
    together = [one.sampled for one in made.continue_rows(rows)]
    assert [made.continue_rows([row])[0].sampled for row in rows] == together
    assert [one.sampled for one in made.continue_rows(rows[::-1])][::-1] == together
    others = [Row(r.prompt, 1, (), Edit(), sampler.noise(8, f"case {n}")) for n, r in enumerate(rows)]
    assert [one.sampled for one in made.continue_rows(others)] != together


def test_top_k_sampling_has_the_right_distribution(decoder):
    """2,000 draws of one token against the renormalised top-k probabilities."""
    sampler = Sampler(1, 4, 1, frozenset())
    rows = [Row(PROMPTS[1], 1, (), Edit(), sampler.noise(0, str(n))) for n in range(2000)]
    drawn = [one.sampled[0] for one in Continuer(decoder, frozenset(), sampler, 10_000).continue_rows(rows)]
    hidden, _ = decoder.read(*padded([PROMPTS[1]], decoder.device))
    probabilities, ids = decoder.logits(hidden[0, -1]).softmax(dim=0).topk(4)
    for token, probability in zip(ids.tolist(), (probabilities / probabilities.sum()).tolist(), strict=True):
        assert drawn.count(token) / 2000 == pytest.approx(probability, abs=0.04)
    assert set(drawn) <= set(ids.tolist())


@pytest.mark.parametrize("width", [9, 512, 3000, 16 * 256])
def test_the_largest_are_those_of_topk(width):
    values = torch.randn(3, 4, width).log_softmax(dim=2)
    values[1, 2, : width // 2] = -torch.inf
    expected = values.topk(7)
    for mine, other in zip(largest(values, 7), expected, strict=True):
        assert torch.equal(mine, other)


def test_a_drawn_end_token_ends_the_sample(decoder):
    sampler = Sampler(TOKENS, 5, 1, frozenset())
    row = Row(PROMPTS[0], 1, (), Edit(), sampler.noise(0, "x"))
    (free,) = continuer(decoder).continue_rows([row])
    end = free.sampled[3]
    (ended,) = continuer(decoder, ends=frozenset({end})).continue_rows([row])
    assert ended.sampled == free.sampled[: free.sampled.index(end)]
