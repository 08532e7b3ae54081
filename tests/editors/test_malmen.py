"""MALMEN: against its plain reference, its training, and input that is wrong."""

import copy
import re
import signal

import pytest
import torch

import reference_malmen as plain
from clme.editors.base import Failure, Request, TrainingCase
from clme.editors.hypernetwork import Hypernetwork, Normaliser
from clme.editors.malmen import Malmen
from clme.editors.malmen_activations import NEIGHBOUR_TOKENS, Reader, Store
from clme.editors.malmen_training import Training
from clme.errors import UserError
from clme.evaluation.decoding import Continuer, Row
from clme.evaluation.sampling import Sampler
from clme.models.decoder import Decoder, Site
from clme.stopping import Stopped, told_by_signals
from clme.tensors import write_tensors
from reference import generate

MODULE = "mlp.down_proj"
TEXTS = [
    ((5, 9, 33, 7, 101), (64, 12, 80, 3), (5, 33, 9), [(7, 8, 9), (301, 22)]),
    ((17,), (200,), (18, 17), [(90, 91, 92, 93)]),
    ((44, 6, 91, 150, 23, 8, 99), (7, 7, 41), (44, 7, 91, 23), [(1, 2), (3, 4, 5), (400,)]),
    ((12, 13, 14), (15, 16), (13, 12), [(77, 78)]),
    ((210, 30, 31), (32, 33, 34), (30, 31, 210), [(88,)]),
    ((61, 62), (63,), (62, 61), [(65, 66)]),
]
CASES = [
    TrainingCase(
        Request(f"case{number}", prompt, target),
        Request(f"case{number}", rephrase, target),
        tuple(neighbours),
    )
    for number, (prompt, target, rephrase, neighbours) in enumerate(TEXTS)
]
SMALL = {
    "layers": [2, 3, 5],
    "width": 24,
    "edit_rate": 0.05,
    "learning_rate": 1e-3,
    "steps": 6,
    "batch_size": 3,
    "validation_cases": 2,
    "validation_interval": 2,
}


@pytest.fixture(scope="module", params=["llama", "qwen2", "stablelm"])
def decoder(request, tiny_models):
    return Decoder.load(tiny_models[request.param])


@pytest.fixture(scope="module")
def llama(tiny_models):
    return Decoder.load(tiny_models["llama"])


def malmen(seed=0, protocol="paper", **overrides):
    return Malmen(Malmen.configured(protocol, {**SMALL, **overrides}), seed)


def random_network(layers=3):
    """A network that is far from the identity that it starts as."""
    random = torch.Generator().manual_seed(3)
    network = Hypernetwork(128, 64, layers, width=24, blocks=2, rate=0.05, random=random)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "blocks" in name:
                weight += 0.1 * torch.randn(weight.shape, generator=random)
        network.log_dampings += torch.randn(layers, generator=random)
    return network


def close(found, expected, cosine=0.9999, error=1e-3):
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) >= cosine
    assert (found - expected).norm() / expected.norm() <= error


def trainable(decoder):
    """A copy of the model that can be differentiated as a whole."""
    return copy.deepcopy(decoder.model).requires_grad_(True)


def test_normaliser_is_the_statistics_of_all_rows():
    random = torch.Generator().manual_seed(0)
    groups = [torch.randn(n, 5, generator=random) * 3 + 1 for n in (4, 2, 9)]
    normaliser = Normaliser(5)
    for group in groups:
        normaliser.update(group)
    mean, std = plain.statistics(groups)
    torch.testing.assert_close(normaliser(groups[1]), (groups[1] - mean) / std)


def test_normaliser_bears_a_single_row():
    normaliser = Normaliser(3)
    for row in (torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 5.0]])):
        normaliser.update(row)
    assert normaliser(torch.zeros(1, 3)).isfinite().all()
    torch.testing.assert_close(normaliser.mean, torch.tensor([2.0, 2.0, 4.0]))


def test_a_new_network_can_learn():
    """All is zero before the clamp at the start; the gradient must get through nevertheless."""
    network = Hypernetwork(6, 4, 1, width=3, blocks=1, rate=1.0, random=torch.Generator().manual_seed(0))
    keys, gradients = torch.randn(5, 6), torch.randn(5, 4)
    network.normaliser.update(torch.cat([keys, gradients], 1))
    network.factors(keys, gradients, 0).square().sum().backward()
    assert network.blocks[0].outer.grad.abs().max() > 0


@pytest.mark.parametrize("tokens", ["answer", "first"])
def test_edit_equals_the_reference(decoder, tmp_path, tokens):
    editor = malmen(tokens=tokens)
    layers = editor.config.layers
    network = random_network()
    model = trainable(decoder)
    keys, gradients = plain.pairs(model, [(p, t) for p, t, _, _ in TEXTS[:3]], layers, MODULE, tokens)
    groups = [torch.cat(pair, 1) for pair in zip(keys, gradients, strict=True)]
    for group in groups:
        network.normaliser.update(group)
    write_tensors(tmp_path / "state.safetensors", network.state_dict(), {})
    editor.load(decoder, {"state": tmp_path / "state.safetensors"})
    weights = dict(network.named_parameters())
    continuer = Continuer(decoder, decoder.ends, Sampler(4, 5, 1, decoder.ends), 4096)
    edits = editor.edit(decoder, [case.request for case in CASES[:4]])
    for (prompt, target, rephrase, _), edit in zip(TEXTS[:4], edits, strict=True):
        keys, gradients = plain.pairs(model, [(prompt, target)], layers, MODULE, tokens)
        changed = copy.deepcopy(decoder.model)
        for place, delta in enumerate(edit.deltas):
            assert delta.site == Site(layers[place], MODULE)
            assert delta.left.shape[1] == len(target)
            moved = plain.shift(weights, *plain.statistics(groups), keys[place], gradients[place], place, 2)
            close(delta.left @ delta.right, moved.T)
            with torch.no_grad():
                changed.get_parameter(plain.weight_name(changed, layers[place], MODULE)).add_(moved.T)
        for text in (prompt, rephrase):
            (found,) = continuer.continue_rows([Row(text, 8, target, edit)])
            assert found.output == generate(changed, text, 8)


@pytest.mark.parametrize("tokens", ["answer", "first"])
def test_training_step_equals_the_reference(decoder, tmp_path, tokens):
    """The same losses and the same gradients of the hypernetwork, clipped; one batch, one step."""
    config = malmen(tokens=tokens, steps=1, batch_size=4, locality=0.7).config
    sites = [decoder.site(layer, MODULE) for layer in config.layers]
    network = random_network()
    weights = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    state = Training(decoder, config, sites, network, CASES, 0, tmp_path).run()
    generalization, locality, gradients = plain.meta_gradient(
        trainable(decoder),
        weights,
        TEXTS[:4],
        layers=config.layers,
        module=MODULE,
        tokens=tokens,
        blocks=2,
        locality=0.7,
        ends=decoder.ends,
        new_tokens=NEIGHBOUR_TOKENS,
    )
    assert state.curve[1]["training_generalization_loss"] == pytest.approx(generalization, rel=1e-4)
    assert state.curve[1]["training_locality_loss"] == pytest.approx(locality, rel=1e-3, abs=1e-6)
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    for name, weight in network.named_parameters():
        close(weight.grad, gradients[name] / max(1.0, float(norm)))


def test_neighbours_are_continued_as_by_generate(decoder):
    sites = [decoder.site(3, MODULE)]
    for case, found in zip(CASES, Reader(decoder, sites, "answer", 5).read(CASES), strict=True):
        for prompt, text in zip(case.neighbours, found.neighbours, strict=True):
            assert text.target == generate(decoder.model, prompt, NEIGHBOUR_TOKENS)
            assert len(text.hidden) == len(prompt) + len(text.target) - 1


def test_neighbours_end_where_the_text_ends(llama, monkeypatch):
    sites = [llama.site(3, MODULE)]
    (whole,) = Reader(llama, sites, "answer", 1).read(CASES[:1])
    answer = whole.neighbours[0].target
    monkeypatch.setattr(llama.model.generation_config, "eos_token_id", [answer[4], 511])
    (ended,) = Reader(llama, sites, "answer", 1).read(CASES[:1])
    assert ended.neighbours[0].target == answer[: answer.index(answer[4]) + 1]
    assert len(ended.neighbours[0].unedited) == len(ended.neighbours[0].target)


def test_activations_come_back_from_disk(llama, tmp_path):
    reader = Reader(llama, [llama.site(2, MODULE), llama.site(4, MODULE)], "answer", 2)
    store = Store(reader, CASES, range(len(CASES)), tmp_path, llama.device)
    for number, expected in enumerate(reader.read(CASES)):
        found = store.get(number)
        assert torch.equal(found.keys, expected.keys)
        for mine, theirs in zip(
            (found.request, found.rephrase, *found.neighbours),
            (expected.request, expected.rephrase, *expected.neighbours),
            strict=True,
        ):
            assert torch.equal(mine.hidden, theirs.hidden)
            assert (mine.start, mine.target) == (theirs.start, theirs.target)
            assert (mine.unedited is None) == (theirs.unedited is None)
    store.drop([0, 1])
    assert len(list(tmp_path.iterdir())) == len(CASES) - 2


def test_training_lowers_the_loss(llama, tmp_path):
    editor = malmen(edit_rate=1e-3, steps=30, validation_interval=10)
    state = editor.fit(llama, CASES, [], {}, tmp_path)
    losses = [record["training_generalization_loss"] for record in state.curve[1:]]
    assert losses[-1] < 0.7 * losses[0]
    assert [record["step"] for record in state.curve] == [0, 10, 20, 30]
    assert state.curve[0]["specificity"] == 1.0
    assert state.curve[0]["locality_loss"] == pytest.approx(0, abs=1e-5)


def test_interrupted_training_has_the_same_result(llama, tmp_path, monkeypatch):
    whole = malmen().fit(llama, CASES, [], {}, tmp_path / "whole")
    learn, steps = Training._learn, []

    def killed(self, batch):
        if len(steps) == 5:
            raise KeyboardInterrupt
        steps.append(batch)
        return learn(self, batch)

    monkeypatch.setattr(Training, "_learn", killed)
    with pytest.raises(KeyboardInterrupt):
        malmen().fit(llama, CASES, [], {}, tmp_path / "killed")
    monkeypatch.setattr(Training, "_learn", learn)
    resumed = malmen().fit(llama, CASES, [], {}, tmp_path / "killed")
    assert resumed.curve == whole.curve
    assert resumed.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(tensor, whole.tensors[name]) for name, tensor in resumed.tensors.items())
    assert not (tmp_path / "killed" / "activations").exists()


def test_a_training_that_is_told_to_stop_loses_no_step(llama, tmp_path, monkeypatch):
    """Between two records of the curve, whose mean losses are over the steps of both runs."""
    whole = malmen().fit(llama, CASES, [], {}, tmp_path / "whole")
    learn, steps = Training._learn, []

    def told(self, batch):
        steps.append(batch)
        if len(steps) == 5:
            signal.raise_signal(signal.SIGTERM)
        return learn(self, batch)

    monkeypatch.setattr(Training, "_learn", told)
    with told_by_signals(), pytest.raises(Stopped, match=r"malmen, training: 5 of \d+ steps are done"):
        malmen().fit(llama, CASES, [], {}, tmp_path / "told")
    resumed = malmen().fit(llama, CASES, [], {}, tmp_path / "told")
    assert len(steps) == SMALL["steps"]
    assert resumed.curve == whole.curve
    assert all(torch.equal(tensor, whole.tensors[name]) for name, tensor in resumed.tensors.items())


def test_seed_decides(llama, tmp_path):
    states = [malmen(seed).fit(llama, CASES, [], {}, tmp_path / str(n)) for n, seed in enumerate((0, 0, 1))]
    name = "blocks.0.outer"
    assert torch.equal(states[0].tensors[name], states[1].tensors[name])
    assert not torch.equal(states[0].tensors[name], states[2].tensors[name])


def test_variants():
    assert malmen(layers=[27, 28]).config.tokens == "answer"
    paper, released = Malmen.configured("paper", {}), Malmen.configured("released", {})
    assert paper.layers == (27, 28, 29, 30, 31)
    assert released.layers == (26, 27, 28, 29, 30, 31)
    needs = [Malmen(config, 0).needs()[0] for config in (paper, released)]
    assert needs[0].digest != needs[1].digest
    assert needs[0].digest != Malmen(paper, 1).needs()[0].digest


def test_too_few_cases(llama, tmp_path):
    with pytest.raises(UserError, match=r"4 cases to train on, but a batch takes 3 and 2 are kept apart"):
        malmen().fit(llama, CASES[:4], [], {}, tmp_path)


def test_training_that_runs_away_is_said(llama, tmp_path):
    with pytest.raises(UserError, match=r"training step 1 \(cases case\d, .*lower malmen's `learning_rate`"):
        malmen(edit_rate=1e38).fit(llama, CASES, [], {}, tmp_path)


def test_a_case_that_cannot_be_trained_on_is_named(tiny_models, tmp_path):
    decoder = Decoder.load(tiny_models["qwen2"])
    with torch.no_grad():
        decoder.embedding.weight[101] = float("nan")
    with pytest.raises(UserError, match=r"case case0: can't be trained on.*nan"):
        malmen().fit(decoder, CASES, [], {}, tmp_path)


def test_state_of_other_layers_is_refused(llama, tmp_path):
    path = tmp_path / "state.safetensors"
    write_tensors(path, random_network(layers=2).state_dict(), {})
    with pytest.raises(UserError, match=r"state\.safetensors: was trained for another model or other layers"):
        malmen().load(llama, {"state": path})


def test_wrong_layers(llama):
    with pytest.raises(UserError, match="layers 0 to 5"):
        malmen(layers=[3, 40]).check(llama)
    with pytest.raises(UserError, match=re.escape("mlp.down_proj")):
        malmen(module="mlp.x").check(llama)
    for wrong in ([], [3, 2], [2, 2], [-1, 2]):
        with pytest.raises(ValueError, match="layers"):
            malmen(layers=wrong)


def test_no_finite_solution_fails_the_request_only(llama, tmp_path):
    network = random_network()
    with torch.no_grad():
        network.rates[1] = float("inf")
    write_tensors(tmp_path / "state.safetensors", network.state_dict(), {})
    editor = malmen()
    editor.load(llama, {"state": tmp_path / "state.safetensors"})
    (failure,) = editor.edit(llama, [CASES[0].request])
    assert isinstance(failure, Failure)
    assert failure.reason == "the normal equation of layer 3 has no finite solution"
