"""ROME, MEMIT and PMET against the plain references of `rank_one.py`."""

import copy

import pytest
import torch

import rank_one
from clme.editors.base import Request
from clme.editors.memit import Memit
from clme.editors.pmet import Pmet
from clme.editors.rome import Rome
from clme.edits import edit_hooks
from clme.models.decoder import Decoder, padded
from reference import generate, mean_loss

LAYERS = [1, 2, 4]
PREFIXES = ((), (8, 90, 4, 17), (301, 22), (77, 5, 61, 402, 9))
REQUESTS = [
    Request("one", (5, 9, 33, 7, 101), (64, 12, 80, 3), (205, 33, 7, 101), 2),
    Request("two", (17,), (200,), (18,), 1),
    Request("three", (44, 6, 91, 150, 23, 8, 99), (7, 7, 41), subject=3),
]
STOPPING = {"steps": 12, "learning_rate": 0.3, "clamp_norm_factor": 3.0, "stop_loss": 5.0}


@pytest.fixture(scope="module", params=["llama", "qwen2", "stablelm"])
def decoder(request, tiny_models):
    return Decoder.load(tiny_models[request.param])


@pytest.fixture(scope="module")
def files(decoder, tmp_path_factory):
    return rank_one.needed_files(decoder, tmp_path_factory.mktemp("needs"), LAYERS, PREFIXES)


@pytest.fixture(scope="module")
def moments(decoder):
    return rank_one.second_moments(decoder.model, LAYERS, rank_one.random_texts(20, 40))


def close(found, expected):
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0)
    assert cosine >= 0.9999
    assert (found - expected).norm() / expected.norm() <= 1e-3


def continuation(decoder, edit, prompt, tokens):
    """Greedy continuation under an edit, token by token."""
    ids = list(prompt)
    for _ in range(tokens):
        rows, mask = padded([ids], decoder.device)
        with torch.no_grad():
            hidden, _ = decoder.read(rows, mask, hooks=edit_hooks([edit], prompt_end=None))
            ids.append(int(decoder.logits(hidden[:, -1]).argmax()))
    return tuple(ids[len(prompt) :])


def compare(decoder, edit, changed, request, steps):
    assert edit.steps == steps
    for delta in edit.deltas:
        before = decoder.linear(delta.site).weight
        after = rank_one.module_at(changed, *delta.site).weight
        close(delta.left @ delta.right, after.detach() - before)
    assert float(mean_loss(changed, request.prompt, request.target)) == pytest.approx(edit.loss, abs=1e-3)
    for prompt in (request.prompt, (3, 1, 4)):
        assert continuation(decoder, edit, prompt, 6) == generate(changed, prompt, 6)


@pytest.mark.parametrize(
    "overrides",
    [
        {"kl_prompt": "subject"},
        {"kl_prompt": "prompt", "mom2_adjustment": True},
        {"contexts": 1, "steps": 3},
        STOPPING,
    ],
    ids=["subject", "adjusted", "fewer contexts", "stopping"],
)
def test_rome_equals_the_reference(decoder, files, moments, overrides):
    config = Rome.configured("paper", {"layer": 2, "steps": 6, "contexts": 3, **overrides})
    editor = Rome(config, seed=0)
    editor.load(decoder, files)
    stopped = set()
    for request, edit in zip(REQUESTS, editor.edit(decoder, REQUESTS), strict=True):
        kept = moments if config.mom2_adjustment else None
        changed = copy.deepcopy(decoder.model)
        steps = rank_one.rome(changed, request, PREFIXES[: 1 + config.contexts], kept, config)
        compare(decoder, edit, changed, request, steps)
        stopped.add(steps)
    assert overrides is not STOPPING or len(stopped) > 1, "rows are meant to stop at different steps"


@pytest.mark.parametrize("overrides", [{}, STOPPING], ids=["whole", "stopping"])
@pytest.mark.parametrize("chosen", [Memit, Pmet])
def test_memit_and_pmet_equal_the_reference(decoder, files, moments, chosen, overrides):
    config = chosen.configured(
        "paper", {"layers": LAYERS, "steps": 6, "contexts": 3, "mom2_update_weight": 20, **overrides}
    )
    editor = chosen(config, seed=0)
    editor.load(decoder, files)
    stopped = set()
    for request, edit in zip(REQUESTS, editor.edit(decoder, REQUESTS), strict=True):
        changed = copy.deepcopy(decoder.model)
        steps = rank_one.spread(
            changed, request, PREFIXES, moments, config, pmet=chosen is Pmet, ease=editor.ease
        )
        compare(decoder, edit, changed, request, steps)
        stopped.add(steps)
    assert not overrides or len(stopped) > 1, "rows are meant to stop at different steps"
