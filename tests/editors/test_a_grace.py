"""A-GRACE and its ablations against plain references; its encoder's training."""

import signal

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import prepared
from clme.editors import contrastive, registry
from clme.editors.base import Request
from clme.editors.contrastive import EncoderConfig, EncoderTraining, Pairs, evaluate, loss, split
from clme.errors import UserError
from clme.evaluation.decoding import Continuer, Row
from clme.evaluation.sampling import Sampler
from clme.keys import KeyEncoder
from clme.models.decoder import Decoder
from clme.models.text import Tokenizer
from clme.randomness import generator
from clme.representations import Representations, pool
from clme.stopping import Stopped, told_by_signals
from clme.tensors import read_tensor_metadata, read_tensors
from reference import contrastive_loss, generate, module_inputs, replaced_output, train_encoder

MODULE = "mlp.down_proj"
TOKENS = 6
EDITORS = ["a_grace", "a_grace_wo_cl", "a_grace_wo_mean"]


def close(found, expected):
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0)
    assert cosine >= 0.9999
    assert (found - expected).norm() / expected.norm() <= 1e-3


@pytest.fixture(scope="module", params=["llama", "qwen2", "stablelm"])
def model(request, tiny_models):
    return tiny_models[request.param]


@pytest.fixture(scope="module")
def decoder(model):
    return Decoder.load(model)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return prepared.write_cases(tmp_path_factory.mktemp("words") / "cases.parquet")


def make(name, **changes):
    chosen = registry.editor(name)
    trained = {"epochs": 4, "encoder_learning_rate": 1e-3} if name != "a_grace_wo_cl" else {}
    config = chosen.configured("paper", {"layer": 3, "steps": 10, **trained, **changes}, "cnle")
    return chosen(config, seed=3)


def query(model, prompt, pooled, state, slope=0.0):
    """The key of a prompt, straight from the paper's formula."""
    x = module_inputs(model, 3, MODULE, prompt)
    q = x.mean(dim=0) if pooled == "mean" else x[-1]
    if not state:
        return q
    hidden = state["first"] @ q + state.get("first_bias", 0)
    hidden = torch.where(hidden > 0, hidden, slope * hidden)
    return state["second"] @ hidden + state.get("second_bias", 0)


@pytest.mark.parametrize("name", EDITORS)
def test_keys_and_outputs_equal_the_reference(name, model, decoder, cases, tmp_path):
    """Prompts of different lengths in one batch, on some of which the codebook fires."""
    editor = make(name)
    files = prepared.make(editor, model, cases, tmp_path)
    editor.load(decoder, files)
    state = read_tensors(files["state"]) if "state" in files else {}
    pooled = "last" if name == "a_grace_wo_mean" else "mean"
    tokenizer = Tokenizer.load(model)
    texts = [
        "Intent: sort the list\nCode:",
        "Intent: sort a list, then print\nCode:",
        "x",
        "Intent: y\nCode:",
    ]
    prompts = [tokenizer.encode(text) for text in texts]
    (edit,) = editor.edit(decoder, [Request("new", prompts[0], (7, 8, 9))])
    (codebook,) = edit.deltas
    plain = decoder.model
    queries = [query(plain, prompt, pooled, state) for prompt in prompts]
    close(codebook.keys[0], queries[0])
    distances = [float((one - queries[0]).norm()) for one in queries]
    # Between the second nearest and the others, so that some fire and some don't.
    radius = torch.tensor([sum(sorted(distances)[1:3]) / 2])
    object.__setattr__(codebook, "radii", radius)
    rows = [Row(prompt, TOKENS, (), edit) for prompt in prompts]
    ends = frozenset()
    found = Continuer(decoder, ends, Sampler(TOKENS, 5, 1, ends), 1000).continue_rows(rows)
    assert [not one.same for one in found] == [distance <= float(radius) for distance in distances]
    assert sum(not one.same for one in found) == 2
    for prompt, one in zip(prompts, found, strict=True):
        if not one.same:
            with replaced_output(plain, 3, MODULE, len(prompt) - 1, codebook.values[0]):
                assert one.output == generate(plain, prompt, TOKENS, eos_token_id=None)


def test_ablations_differ_from_grace_in_the_key_only(decoder, model, cases, tmp_path):
    request = [Request("new", (5, 9, 33, 7, 101), (64, 12, 80, 3))]
    grace = registry.editor("grace")
    (base,) = grace(grace.configured("paper", {"layer": 3, "steps": 10}), seed=3).edit(decoder, request)
    for name in EDITORS:
        editor = make(name)
        editor.load(decoder, prepared.make(editor, model, cases, tmp_path / name))
        (edit,) = editor.edit(decoder, request)
        assert torch.equal(edit.deltas[0].values, base.deltas[0].values)
        assert edit.loss == base.loss
        if name != "a_grace_wo_cl":
            assert edit.deltas[0].keys.shape == (1, 256)


def test_stored_representations_give_the_keys_that_are_read(decoder, model, cases, tmp_path):
    files = prepared.make(make("a_grace"), model, cases, tmp_path)
    lean, full = make("a_grace"), make("a_grace")
    full.load(decoder, files)
    lean.load(decoder, {"state": files["state"]})
    requests = [
        Request(case.case.case_id, case.request.prompt, case.request.target)
        for case in prepared.encoded(model, decoder, cases)[:4]
    ]
    for one, other in zip(full.edit(decoder, requests), lean.edit(decoder, requests), strict=True):
        torch.testing.assert_close(one.deltas[0].keys, other.deltas[0].keys, rtol=1e-4, atol=1e-5)


def test_padding_has_no_part_in_the_mean():
    x = torch.randn(2, 4, 3)
    x[0, 2:] = float("nan")
    means = pool(x, torch.tensor([1, 3]), "mean")
    torch.testing.assert_close(means[0], x[0, :2].mean(dim=0))
    torch.testing.assert_close(means[1], x[1].mean(dim=0))
    assert torch.equal(pool(x, torch.tensor([1, 3]), "last"), torch.stack([x[0, 1], x[1, 3]]))


def synthetic(count, seed=0, d=32, neighbours=3):
    """Cases whose rephrases are near in some directions, and far in others that say nothing."""
    random = torch.Generator().manual_seed(seed)
    cases = []
    for _ in range(count):
        meaning = torch.randn(d // 2, generator=random)
        others = torch.randn(neighbours, d // 2, generator=random)
        meanings = torch.cat([meaning[None], meaning[None], others])
        cases.append(torch.cat([meanings, 3 * torch.randn(2 + neighbours, d // 2, generator=random)], dim=1))
    return cases


def train(tmp_path, cases=None, validation=None, seed=0, **changes):
    settings = {"epochs": 3, "dropout": 0.0, "encoder_learning_rate": 1e-3, **changes}
    learn, choose = Pairs.of(cases or synthetic(20)), Pairs.of(validation or synthetic(8, seed=1))
    tmp_path.mkdir(exist_ok=True)
    device = learn.rows.device
    return EncoderTraining(EncoderConfig(**settings), seed, learn, choose, device, tmp_path).run("test")


def test_loss_is_equation_4():
    keys = torch.randn(6, 5)
    pairs = [(0, 1, 1.0), (0, 2, 0.0), (3, 4, 1.0), (3, 5, 0.0)]
    index = torch.tensor([pair[:2] for pair in pairs])
    same = torch.tensor([pair[2] for pair in pairs])
    for margin in (0.1, 1.3, 10.0):
        found = loss(keys[index[:, 0]], keys[index[:, 1]], same, margin)
        torch.testing.assert_close(found, contrastive_loss(keys, pairs, margin), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss(keys[:1], keys[:1], torch.zeros(1), 1.5), torch.tensor(2.25))


def test_pairs_are_prompt_with_rephrase_and_prompt_with_each_neighbour():
    cases = synthetic(2, neighbours=2)
    pairs = Pairs.of(cases)
    assert pairs.index.tolist() == [[0, 1], [0, 2], [0, 3], [4, 5], [4, 6], [4, 7]]
    assert pairs.same.tolist() == [1, 0, 0, 1, 0, 0]
    assert torch.equal(pairs.rows, torch.cat(cases))


def test_training_equals_the_reference(tmp_path):
    cases = synthetic(6)
    state = train(tmp_path, cases, batch_pairs=10, margin=2.0, patience=3, weight_decay=1e-2)
    random = generator(0, "a_grace encoder")
    first = torch.from_numpy(random.uniform(-1, 1, (8, 32)) / np.sqrt(32)).float()
    second = torch.from_numpy(random.uniform(-1, 1, (256, 8)) / np.sqrt(8)).float()
    pairs = Pairs.of(cases)
    orders = [
        generator(0, "a_grace encoder", f"epoch {epoch}").permutation(len(pairs.index))
        for epoch in range(len(state.curve))
    ]
    accuracies = [record["accuracy"] for record in state.curve]
    best = accuracies.index(max(accuracies))
    listed = [(int(a), int(b), float(y)) for (a, b), y in zip(pairs.index, pairs.same, strict=True)]
    options = {"margin": 2.0, "batch": 10, "learning_rate": 1e-3, "weight_decay": 1e-2}
    train_encoder(first, second, pairs.rows, listed, orders[: best + 1], **options)
    close(state.tensors["first"], first.detach())
    close(state.tensors["second"], second.detach())


def test_the_encoder_learns_what_rephrases_share(tmp_path):
    before = train(tmp_path / "a", epochs=1, encoder_learning_rate=1e-6).curve[0]
    state = train(
        tmp_path / "b", synthetic(300), epochs=30, patience=30, margin=2.5, encoder_learning_rate=3e-3
    )
    best = max(record["accuracy"] for record in state.curve)
    assert before["accuracy"] < 0.6
    assert best > 0.85
    encoder = KeyEncoder(**state.tensors)
    assert evaluate(encoder, Pairs.of(synthetic(8, seed=1)), 1.0, 2.5)["accuracy"] == pytest.approx(best)


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path, monkeypatch):
    options = {"epochs": 6, "dropout": 0.5, "patience": 6, "bias": True, "slope": 0.5}
    whole = train(tmp_path / "whole", **options)
    monkeypatch.setattr(contrastive, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    real, calls = EncoderTraining._epoch, []

    def failing(self, number):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(number)
        real(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(EncoderTraining, "_epoch", failing)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", **options)
    resumed = train(tmp_path / "parts", **options)
    assert calls == [0, 1, 2]
    assert list(resumed.curve) == list(whole.curve)
    assert all(torch.equal(resumed.tensors[name], weight) for name, weight in whole.tensors.items())
    assert set(whole.tensors) == {"first", "second", "first_bias", "second_bias"}
    other = train(tmp_path / "other", seed=1, **options)
    assert not torch.equal(other.tensors["first"], whole.tensors["first"])


def test_a_training_that_is_told_to_stop_loses_no_epoch(tmp_path, monkeypatch):
    options = {"epochs": 5, "dropout": 0.5, "patience": 5}
    whole = train(tmp_path / "whole", **options)
    real, calls = EncoderTraining._epoch, []

    def told(self, number):
        calls.append(number)
        if number == 2:
            signal.raise_signal(signal.SIGUSR1)
        real(self, number)

    monkeypatch.setattr(EncoderTraining, "_epoch", told)
    with told_by_signals(), pytest.raises(Stopped, match="3 of 5 epochs are done; stopped by SIGUSR1"):
        train(tmp_path / "parts", **options)
    resumed = train(tmp_path / "parts", **options)
    assert calls == [0, 1, 2, 3, 4]
    assert list(resumed.curve) == list(whole.curve)
    assert all(torch.equal(resumed.tensors[name], weight) for name, weight in whole.tensors.items())


def test_patience_ends_the_training_and_the_best_epoch_is_kept(tmp_path):
    state = train(tmp_path, epochs=60, patience=4, encoder_learning_rate=2e-2)
    accuracies = [record["accuracy"] for record in state.curve]
    best = accuracies.index(max(accuracies))
    assert len(accuracies) == best + 1 + 4 < 60
    kept = evaluate(KeyEncoder(**state.tensors), Pairs.of(synthetic(8, seed=1)), 1.0, 1.3)
    assert kept["accuracy"] == pytest.approx(accuracies[best])


def test_a_loss_that_is_not_a_number_is_named(tmp_path):
    bad = synthetic(4)
    bad[2][0, 0] = float("nan")
    with pytest.raises(
        UserError, match="encoder's loss became nan in epoch 1; lower `encoder_learning_rate`"
    ):
        train(tmp_path, bad)


def test_split_is_seeded_and_whole():
    ids = [f"case-{number}" for number in range(20)]
    learn, choose = split(ids, 0.1, seed=0)
    assert (len(learn), len(choose)) == (18, 2)
    assert sorted(learn + choose) == sorted(ids)
    assert split(ids, 0.1, seed=0) == (learn, choose)
    assert split(ids, 0.1, seed=1) != (learn, choose)
    assert [len(part) for part in split(ids[:2], 0.9, seed=0)] == [1, 1]


def test_variants():
    a_grace = registry.editor("a_grace")
    paper, csne = (a_grace.configured("paper", {}, task) for task in ("cnle", "csne"))
    assert (paper.margin, csne.margin, paper.patience, paper.slope, paper.bias) == (1.3, 2.5, 10, 0.0, False)
    released = a_grace.configured("released", {}, "csne")
    assert (released.margin, released.patience, released.slope, released.bias) == (1.0, 5, 0.5, True)
    clean = a_grace.configured("paper", {"variant": "clean"}, "csne")
    assert clean == csne.model_copy(update={"variant": "clean", "selection": "held_out"})
    assert a_grace.configured("paper", {"variant": "released"}, "cnle").margin == 1.0
    assert a_grace.configured("released", {"margin": 2.0}, "cnle").margin == 2.0
    with pytest.raises(ValidationError, match="variant"):
        a_grace.configured("paper", {"variant": "other"})


def test_only_the_leak_sees_the_fold_itself(tiny_models, cases, tmp_path):
    """`clean` learns the same whatever the fold holds; `paper` chooses by it."""
    model = tiny_models["llama"]
    needs = {variant: make("a_grace", variant=variant).needs()[-1] for variant in ("paper", "clean")}
    assert needs["paper"].sees_test
    assert not needs["clean"].sees_test
    curves = {}
    for variant in needs:
        for cases_edited in (2, 6):
            folder = tmp_path / f"{variant}{cases_edited}"
            editor = make("a_grace", variant=variant)
            chosen = prepared.Selection(cases=cases_edited)
            path = prepared.make(editor, model, cases, folder, evaluation=chosen)["state"]
            curves[variant, cases_edited] = read_tensor_metadata(path)["curve"]
    assert curves["clean", 2] == curves["clean", 6]
    assert curves["paper", 2] != curves["paper", 6]
    assert [record["epoch"] for record in curves["clean", 2]] == [1, 2, 3, 4]


def test_representations_of_another_layer_are_refused(tiny_models, cases, tmp_path):
    files = prepared.make(make("a_grace"), tiny_models["llama"], cases, tmp_path)
    assert "case-1" in Representations(files["representations"])
    editor = make("a_grace", layer=2)
    job = prepared.settings(editor, editor.needs()[-1])
    with pytest.raises(UserError, match=r"another layer \(3, a_grace has 2\)"):
        prepared.prepare.run(
            "state",
            tiny_models["llama"],
            cases,
            {"representations": files["representations"]},
            job,
            tmp_path / "j",
            tmp_path / "state.safetensors",
        )
