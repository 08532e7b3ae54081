"""What every registered editor must do, on tiny models of all three families."""

import pytest
import torch

import prepared
from clme.editors import registry
from clme.editors.base import Failure, Request
from clme.editors.losses import target_loss
from clme.edits import Edit, edit_hooks
from clme.errors import UserError
from clme.models.decoder import Decoder, padded

# Layers that a model of six layers has, and steps enough for random weights.
ENCODER = {"layer": 3, "epochs": 3, "encoder_learning_rate": 1e-3}
TINY = {
    "ft_l": {"layer": 3, "norm_constraint": 0.05, "learning_rate": 0.01},
    "rome": {"layer": 2},
    "memit": {"layers": [0, 1], "mom2_update_weight": 0.1},
    "pmet": {"layers": [0, 1], "mom2_update_weight": 0.1},
    "malmen": {
        "layers": [3, 4, 5],
        "width": 64,
        "edit_rate": 0.01,
        "batch_size": 1,
        "learning_rate": 1e-3,
        "steps": 20,
        "validation_cases": 2,
    },
    "grace": {"layer": 3},
    "a_grace": ENCODER,
    "a_grace_wo_cl": {"layer": 3},
    "a_grace_wo_mean": ENCODER,
}
REQUESTS = [
    Request("one", (5, 9, 33, 7, 101), (64, 12, 80, 3)),
    Request("two", (17,), (200,)),
    Request("three", (44, 6, 91, 150, 23, 8, 99), (7, 7, 41)),
]


@pytest.fixture(scope="module", params=["llama", "qwen2", "stablelm"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def decoder(family, tiny_models):
    return Decoder.load(tiny_models[family])


@pytest.fixture(scope="module")
def files(tiny_models, tmp_path_factory):
    """Makes what an editor needs for a model of a family, once."""
    folder = tmp_path_factory.mktemp("needs")
    cases = prepared.write_cases(folder / "cases.parquet")
    made = {}

    def find(editor, family):
        if (editor.name, family) not in made:
            place = folder / editor.name / family
            made[editor.name, family] = prepared.make(editor, tiny_models[family], cases, place)
        return made[editor.name, family]

    return find


@pytest.fixture(params=registry.names())
def unprepared(request):
    chosen = registry.editor(request.param)
    return chosen(chosen.configured("paper", TINY.get(request.param, {})), seed=0)


@pytest.fixture
def editor(unprepared, decoder, family, files):
    unprepared.load(decoder, files(unprepared, family))
    return unprepared


def losses(decoder, edits):
    """The loss of each request's target with each row under its edit, prompt and target read in two parts."""
    ids, mask = padded([r.prompt for r in REQUESTS], decoder.device)
    ends = mask.sum(dim=1) - 1
    with torch.no_grad():
        hidden, context = decoder.read(ids, mask, hooks=edit_hooks(edits, prompt_end=ends))
        last = hidden[torch.arange(len(edits)), ends]
        ids, mask = padded([r.target[:-1] for r in REQUESTS], decoder.device)
        more, _ = decoder.read(ids, mask, context, hooks=edit_hooks(edits, prompt_end=None))
        hidden = torch.cat([last[:, None], more], dim=1)
        return target_loss(decoder, hidden, [0] * len(edits), [r.target for r in REQUESTS])


def test_name_is_that_of_its_entry_point(unprepared):
    assert registry.editor(unprepared.name) is type(unprepared)


def test_targets_become_likelier(decoder, editor):
    edits = editor.edit(decoder, REQUESTS)
    assert len(edits) == len(REQUESTS)
    before, after = losses(decoder, [Edit()] * len(edits)), losses(decoder, edits)
    if editor.name == "none":
        assert torch.equal(before, after)
    else:
        assert (after < 0.9 * before).all()


def test_reported_loss_is_the_loss_under_the_edit(decoder, editor):
    edits = editor.edit(decoder, REQUESTS)
    for edit, loss in zip(edits, losses(decoder, edits).tolist(), strict=True):
        if edit.loss is not None:
            assert edit.loss == pytest.approx(loss, rel=1e-3, abs=1e-4)


def test_base_weights_stay_bit_identical(decoder, editor):
    before = {name: weight.clone() for name, weight in decoder.model.state_dict().items()}
    editor.edit(decoder, REQUESTS)
    assert all(torch.equal(weight, before[name]) for name, weight in decoder.model.state_dict().items())
    assert not any(weight.requires_grad for weight in decoder.model.parameters())


def test_batch_of_one_equals_batch_of_many(decoder, editor):
    together = editor.edit(decoder, REQUESTS)
    for request, edit in zip(REQUESTS, together, strict=True):
        (alone,) = editor.edit(decoder, [request])
        assert alone.steps == edit.steps
        for mine, theirs in zip(alone.deltas, edit.deltas, strict=True):
            for name, value in vars(mine).items():
                if isinstance(value, torch.Tensor):
                    torch.testing.assert_close(value, getattr(theirs, name), rtol=2e-2, atol=2e-2)


def test_same_seed_same_edit(decoder, editor):
    first, second = editor.edit(decoder, REQUESTS), editor.edit(decoder, REQUESTS)
    for mine, theirs in zip(first, second, strict=True):
        for one, other in zip(mine.deltas, theirs.deltas, strict=True):
            for name, value in vars(one).items():
                if isinstance(value, torch.Tensor):
                    assert torch.equal(value, getattr(other, name))


def test_saved_edit_gives_equal_logits(decoder, editor, tmp_path):
    edits = editor.edit(decoder, REQUESTS)
    loaded = []
    for number, edit in enumerate(edits):
        edit.save(tmp_path / f"{number}.safetensors")
        loaded.append(Edit.load(tmp_path / f"{number}.safetensors", decoder.device))
    assert torch.equal(losses(decoder, edits), losses(decoder, loaded))


def test_layer_out_of_range_and_missing_module(decoder, unprepared):
    kind = type(unprepared)
    where = {"layer": 40} if "layer" in kind.Config.model_fields else {"layers": [3, 40]}
    if not where.keys() <= kind.Config.model_fields.keys():
        pytest.skip("acts in no layer")
    there = TINY[unprepared.name] | {"module": "mlp.x"}
    for wrong, said in ((where, "layers 0 to 5"), (there, "mlp.down_proj")):
        with pytest.raises(UserError, match=said):
            kind(kind.configured("paper", wrong), seed=0).check(decoder)


def test_half_precision(tiny_models, unprepared, files):
    editor, decoder = unprepared, Decoder.load(tiny_models["llama"], dtype="bfloat16")
    editor.load(decoder, files(editor, "llama"))
    assert all(isinstance(edit, Edit) for edit in editor.edit(decoder, REQUESTS))


def test_a_loss_that_is_not_a_number_fails_that_request_only(tiny_models, unprepared, files):
    editor = unprepared
    if editor.name == "none":
        pytest.skip("has no loss")
    decoder = Decoder.load(tiny_models["qwen2"])  # its head isn't tied to the embedding
    with torch.no_grad():
        decoder.embedding.weight[200] = float("nan")
    editor.load(decoder, files(editor, "qwen2"))
    poisoned = Request("bad", (5, 200, 7), (1, 2))
    good, bad = editor.edit(decoder, [REQUESTS[0], poisoned])
    assert isinstance(good, Edit)
    assert isinstance(bad, Failure)
    assert "nan" in bad.reason
