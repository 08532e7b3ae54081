"""Editors against the plain references of `reference.py`."""

import copy

import numpy as np
import pytest
import torch

from clme.editors.base import Request
from clme.editors.ft_l import FineTuning
from clme.editors.grace import Grace
from clme.models.decoder import Decoder
from clme.randomness import generator
from reference import fine_tuned_weight, grace_value, mean_loss, replaced_output

MODULE = "mlp.down_proj"
REQUESTS = [
    Request("one", (5, 9, 33, 7, 101), (64, 12, 80, 3)),
    Request("two", (17,), (200,)),
    Request("three", (44, 6, 91, 150, 23, 8, 99), (7, 7, 41)),
]


@pytest.fixture(scope="module", params=["llama", "qwen2", "stablelm"])
def decoder(request, tiny_models):
    return Decoder.load(tiny_models[request.param])


def close(found, expected):
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0)
    assert cosine >= 0.9999
    assert (found - expected).norm() / expected.norm() <= 1e-3


def test_grace_equals_the_reference(decoder):
    config = Grace.configured("paper", {"layer": 3})
    for request, edit in zip(REQUESTS, Grace(config, seed=4).edit(decoder, REQUESTS), strict=True):
        (codebook,) = edit.deltas
        start = torch.from_numpy(generator(4, "grace", request.case_id).random(64).astype(np.float32))
        texts = (request.prompt, request.target)
        value = grace_value(decoder.model, *texts, start, layer=3, module=MODULE, steps=30, learning_rate=1.0)
        close(codebook.values[0], value)
        inputs = []
        module = decoder.model.base_model.layers[3].get_submodule(MODULE)
        handle = module.register_forward_hook(lambda _, args, __, kept=inputs: kept.append(args[0]))
        mean_loss(decoder.model, *texts)
        handle.remove()
        close(codebook.keys[0], inputs[0][0, len(request.prompt) - 1])
        with replaced_output(decoder.model, 3, MODULE, len(request.prompt) - 1, value):
            assert float(mean_loss(decoder.model, *texts)) == pytest.approx(edit.loss, abs=1e-3)


@pytest.mark.parametrize("steps", [3, 40])
def test_ft_l_equals_the_reference(decoder, steps):
    """In double precision: in single, Adam makes whole steps of gradients that are rounding errors."""
    decoder = Decoder(copy.deepcopy(decoder.model).double())
    overrides = {"layer": 3, "steps": steps, "learning_rate": 0.005, "norm_constraint": 0.05}
    config = FineTuning.configured("paper", {**overrides, "stop_loss": 4.0})
    stopped = set()
    for request, edit in zip(REQUESTS, FineTuning(config, seed=0).edit(decoder, REQUESTS), strict=True):
        (dense,) = edit.deltas
        model = copy.deepcopy(decoder.model)
        weight = fine_tuned_weight(
            model,
            request.prompt,
            request.target,
            layer=3,
            module=MODULE,
            steps=steps,
            learning_rate=0.005,
            bound=0.05,
            stop_loss=4.0,
        )
        original = decoder.linear(dense.site).weight
        close(dense.weight - original, weight - original)
        assert (dense.weight - original).abs().max() <= 0.05 + 1e-6
        stopped.add(edit.steps)
    if steps == 40:
        assert len(stopped) > 1, "rows are meant to stop at different steps"


def test_half_precision_keeps_what_it_could_not_hold(tiny_models):
    """FT-L's bounded change is smaller than the rounding of the model's weights; a value is trained on."""
    decoder = Decoder.load(tiny_models["llama"], dtype="bfloat16")
    small = {"layer": 3, "steps": 2, "learning_rate": 1e-5, "norm_constraint": 1e-5}
    (edit, *_) = FineTuning(FineTuning.configured("paper", small), seed=0).edit(decoder, REQUESTS)
    (dense,) = edit.deltas
    weight = decoder.linear(dense.site).weight
    changed = dense.weight - weight.float()
    assert (changed != 0).float().mean() > 0.9
    assert changed.abs().max() <= 1.1e-5
    assert (dense.weight.bfloat16() == weight).float().mean() > 0.9
    slow = {"layer": 3, "steps": 2, "learning_rate": 1e-4}
    (edit, *_) = Grace(Grace.configured("paper", slow), seed=0).edit(decoder, REQUESTS)
    start = torch.from_numpy(generator(0, "grace", "one").random(64).astype(np.float32))
    moved = (edit.deltas[0].values[0] - start).abs()
    assert moved.min() > 0
    assert moved.max() <= 2.1e-4
