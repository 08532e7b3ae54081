import copy
import shutil

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from clme.edits import Codebook, Dense, Edit, LowRank, edit_hooks
from clme.errors import UserError
from clme.models.decoder import Decoder, Site, padded
from clme.sequences import edited

FAMILIES = ["llama", "qwen2", "stablelm"]
ROWS = [[5, 9, 33, 7, 101, 64, 12, 80], [17, 200, 3], [44, 6, 91, 150, 23]]
MODULE = "mlp.down_proj"


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tiny_models):
    return AutoModelForCausalLM.from_pretrained(tiny_models[request.param]).eval()


@pytest.fixture(scope="module")
def decoder(model):
    """Of a copy, since it replaces the attention."""
    return Decoder(copy.deepcopy(model))


def reference(model, ids, mask):
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask.long(), position_ids=positions).logits


@pytest.mark.parametrize("side", ["left", "right"])
def test_full_pass_gives_the_models_own_logits(model, decoder, side):
    ids, mask = padded(ROWS, decoder.device, side=side)
    hidden, _ = decoder.read(ids, mask)
    torch.testing.assert_close(
        decoder.logits(hidden)[mask], reference(model, ids, mask)[mask], rtol=1e-4, atol=1e-4
    )


def test_padding_changes_nothing(decoder):
    ids, mask = padded(ROWS, decoder.device)
    together, _ = decoder.read(ids, mask)
    for row, tokens in enumerate(ROWS):
        alone, _ = decoder.read(*padded([tokens], decoder.device))
        torch.testing.assert_close(together[row, : len(tokens)], alone[0], rtol=1e-4, atol=1e-4)


def test_gradients_are_the_models_own(model, decoder):
    ids, mask = padded(ROWS, decoder.device)
    found = []
    for logits in (
        lambda entering: decoder.logits(decoder.read(entering, mask)[0]),
        lambda entering: model(inputs_embeds=entering, attention_mask=mask.long()).logits,
    ):
        entering = decoder.embed(ids).detach().requires_grad_()
        logits(entering)[mask].logsumexp(dim=1).sum().backward()
        found.append(entering.grad[mask])
    assert found[0].abs().max() > 0
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("middle", [1, 3, 6])
def test_from_the_middle(model, decoder, middle):
    ids, mask = padded(ROWS, decoder.device)
    lower, _ = decoder.read(ids, mask, stop=middle)
    upper, _ = decoder.read(lower, mask, first=middle)
    torch.testing.assert_close(
        decoder.logits(upper)[mask], reference(model, ids, mask)[mask], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("sides", [("left", "right"), ("right", "right"), ("right", "left")])
def test_caches_go_on_where_the_prompt_ended(model, decoder, sides):
    """The second part is read after a padded first part: positions and masks must skip the padding."""
    first = padded([row[:2] for row in ROWS], decoder.device, side=sides[0])
    _, context = decoder.read(*padded([row[:1] for row in ROWS], decoder.device))
    _, context = decoder.read(*padded([row[1:2] for row in ROWS], decoder.device), context)
    _, whole = decoder.read(*first)
    ids, mask = padded([row[2:] for row in ROWS], decoder.device, side=sides[1])
    full_ids, full_mask = padded(ROWS, decoder.device)
    expected = reference(model, full_ids, full_mask)
    for past in (context, whole):
        hidden, _ = decoder.read(ids, mask, past)
        logits = decoder.logits(hidden)
        for row, tokens in enumerate(ROWS):
            torch.testing.assert_close(
                logits[row][mask[row]], expected[row, 2 : len(tokens)], rtol=1e-4, atol=1e-4
            )


def test_layers_from_the_middle_with_a_cache(model, decoder):
    _, context = decoder.read(*padded([row[:2] for row in ROWS], decoder.device))
    ids, mask = padded([row[2:] for row in ROWS], decoder.device)
    lower, _ = decoder.read(ids, mask, context, stop=3)
    upper, _ = decoder.read(lower, mask, context, first=3)
    full_ids, full_mask = padded(ROWS, decoder.device)
    expected = reference(model, full_ids, full_mask)
    for row, tokens in enumerate(ROWS):
        found = decoder.logits(upper)[row, : len(tokens) - 2]
        torch.testing.assert_close(found, expected[row, 2 : len(tokens)], rtol=1e-4, atol=1e-4)


def test_tokens_can_be_taken_back_and_rows_selected(model, decoder):
    row = ROWS[0]
    _, context = decoder.read(*padded([[*row[:3], 77, 78], [*row[:3], 1, 2]], decoder.device))
    taken_back = torch.tensor([[False, False, False, True, True]] * 2)
    context = context.without(taken_back).rows(torch.tensor([1, 1, 0]))
    hidden, _ = decoder.read(*padded([row[3:]] * 3, decoder.device), context)
    expected = reference(model, *padded([row], decoder.device))[0, 3:]
    for found in decoder.logits(hidden):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_follows_in_turns_leaves_earlier_contexts_as_they_are(decoder):
    """Tokens that come one at a time share a place; what follows one context twice stays apart."""
    ids = torch.tensor([ROWS[0], ROWS[0][::-1]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        expected, _ = decoder.read(ids, mask)
        _, start = decoder.read(ids[:, :2], mask[:, :2])
        contexts = [start]
        for place in range(2, ids.shape[1]):
            step = slice(place, place + 1)
            decoder.read(ids.flip(0)[:, step], mask[:, step], contexts[-1])
            hidden, context = decoder.read(ids[:, step], mask[:, step], contexts[-1])
            decoder.read(ids.flip(0)[:, step], mask[:, step], contexts[-1])
            torch.testing.assert_close(hidden[:, 0], expected[:, place], rtol=1e-4, atol=1e-4)
            contexts.append(context)
        for place, context in enumerate(contexts[:-1], 2):
            hidden, _ = decoder.read(ids[:, place:], mask[:, place:], context)
            torch.testing.assert_close(hidden, expected[:, place:], rtol=1e-4, atol=1e-4)


def test_a_context_of_inference_mode_goes_on_outside(decoder):
    ids, mask = padded(ROWS[:1], decoder.device)
    with torch.inference_mode():
        _, context = decoder.read(ids[:, :2], mask[:, :2])
        _, context = decoder.read(ids[:, 2:3], mask[:, 2:3], context)
    with torch.no_grad():
        found, _ = decoder.read(ids[:, 3:4], mask[:, 3:4], context)
        expected, _ = decoder.read(ids[:, :4], mask[:, :4])
    torch.testing.assert_close(found[:, 0], expected[:, 3], rtol=1e-4, atol=1e-4)


def test_hooks_read_and_replace_at_positions(model, decoder):
    seen = {}

    def replace(x, y):
        seen["x"] = x
        return y.index_fill(1, torch.tensor([1]), 0.5)

    ids, mask = padded(ROWS, decoder.device)
    hidden, _ = decoder.read(ids, mask, hooks=[(Site(2, MODULE), replace)])
    plain, _ = decoder.read(ids, mask)
    assert seen["x"].shape == (3, 8, decoder.linear(Site(2, MODULE)).in_features)
    torch.testing.assert_close(hidden[:, 0], plain[:, 0])
    assert not torch.allclose(hidden[:, 1], plain[:, 1])

    def handle(_, __, output):
        output[:, 1] = 0.5
        return output

    module = model.base_model.layers[2].get_submodule(MODULE)
    hook = module.register_forward_hook(handle)
    expected = reference(model, ids, mask)
    hook.remove()
    torch.testing.assert_close(decoder.logits(hidden)[mask], expected[mask], rtol=1e-4, atol=1e-4)


def random_edits(decoder):
    """Per row: a low-rank edit of two modules, a dense one, one of another rank after a dense one."""
    torch.manual_seed(0)
    down, other = Site(2, MODULE), Site(4, "self_attn.o_proj")

    def low_rank(site, rank):
        weight = decoder.linear(site).weight
        return LowRank(site, torch.randn(weight.shape[0], rank), 0.1 * torch.randn(rank, weight.shape[1]))

    def dense(site):
        weight = decoder.linear(site).weight
        return Dense(site, weight + 0.1 * torch.randn_like(weight))

    return [
        Edit((low_rank(down, 1), low_rank(other, 2))),
        Edit((dense(down),)),
        Edit((dense(down), low_rank(down, 3))),
    ]


def test_row_edits_equal_changed_weights(model, decoder):
    edits = random_edits(decoder)
    ids, mask = padded(ROWS, decoder.device)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    hidden, _ = decoder.read(ids, mask, hooks=edit_hooks(edits, prompt_end=None))
    logits = decoder.logits(hidden)
    for row, edit in enumerate(edits):
        changed = copy.deepcopy(model)
        for delta in edit.deltas:
            weight = changed.base_model.layers[delta.site.layer].get_submodule(delta.site.module).weight
            with torch.no_grad():
                weight.copy_(delta.weight if isinstance(delta, Dense) else weight + delta.left @ delta.right)
        expected = reference(changed, ids, mask)[row]
        assert not torch.allclose(expected, reference(model, ids, mask)[row], atol=1e-2)
        torch.testing.assert_close(logits[row][mask[row]], expected[mask[row]], rtol=2e-4, atol=2e-4)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_codebook_fires_within_its_radius_at_the_prompt_end_only(model, decoder):
    site = Site(3, MODULE)
    ids, mask = padded(ROWS, decoder.device)
    ends = mask.sum(dim=1) - 1
    seen = []
    decoder.read(ids, mask, hooks=[(site, lambda x, _: seen.append(x))])
    key = seen[0][0, ends[0]] + 0.01
    value = torch.full((decoder.linear(site).out_features,), 0.3)
    near = Codebook(site, key[None], value[None], torch.tensor([0.5]))
    far = Codebook(site, key[None] + 10, value[None], torch.tensor([0.5]))
    hooks = edit_hooks([Edit((near,)), Edit((near,)), Edit((far,))], prompt_end=ends)
    hidden, _ = decoder.read(ids, mask, hooks=hooks)
    plain, _ = decoder.read(ids, mask)
    torch.testing.assert_close(hidden[0, :-1], plain[0, :-1])
    torch.testing.assert_close(hidden[1:], plain[1:])
    module = model.base_model.layers[3].get_submodule(MODULE)

    def handle(_, __, output):
        output[0, ends[0]] = value
        return output

    hook = module.register_forward_hook(handle)
    expected = reference(model, ids, mask)
    hook.remove()
    torch.testing.assert_close(decoder.logits(hidden)[mask], expected[mask], rtol=1e-4, atol=1e-4)


def test_edits_survive_saving(decoder, tmp_path):
    codebook = Codebook(Site(1, MODULE), torch.randn(2, 4), torch.randn(2, 3), torch.ones(2), decoding=True)
    for number, edit in enumerate([*random_edits(decoder), Edit((codebook,), steps=30, loss=0.25), Edit()]):
        edit.save(tmp_path / f"{number}.safetensors")
        loaded = Edit.load(tmp_path / f"{number}.safetensors", decoder.device)
        assert (loaded.steps, loaded.loss) == (edit.steps, edit.loss)
        for mine, theirs in zip(edit.deltas, loaded.deltas, strict=True):
            assert type(mine) is type(theirs)
            for name, value in vars(mine).items():
                other = getattr(theirs, name)
                assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_a_file_without_edit_is_refused(tmp_path, decoder):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"x\.safetensors.*not a readable"):
        Edit.load(tmp_path / "x.safetensors", decoder.device)


def test_sites_are_checked(decoder):
    with pytest.raises(UserError, match=r"layer 6.*0 to 5"):
        decoder.site(6, MODULE)
    with pytest.raises(UserError, match=r"mlp\.nowhere.*mlp\.down_proj"):
        decoder.site(2, "mlp.nowhere")


def test_another_structure_is_refused():
    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50))
    with pytest.raises(UserError, match=r"GPT2LMHeadModel.*built like Llama"):
        Decoder(model)


def test_a_folder_without_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="no model can be loaded"):
        Decoder.load(tmp_path)


@pytest.mark.parametrize("damage", ["cut off", "empty", "a weight is missing", "a weight has another shape"])
def test_damaged_weights_are_refused(tiny_models, tmp_path, damage):
    shutil.copytree(tiny_models["qwen2"], tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    if damage in ("cut off", "empty"):
        path.write_bytes(path.read_bytes()[: 5000 if damage == "cut off" else 0])
    else:
        weights = load_file(path)
        kept = weights.pop("model.layers.3.mlp.down_proj.weight")
        if damage == "a weight has another shape":
            weights["model.layers.3.mlp.down_proj.weight"] = kept[:10].clone()
        save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"/m: no model can be loaded from here") as error:
        Decoder.load(tmp_path / "m")
    assert "\n" not in str(error.value)


def test_an_unknown_device_is_refused(tiny_models):
    with pytest.raises(UserError, match="no model can be loaded from here onto abacus"):
        Decoder.load(tiny_models["llama"], device="abacus")


def test_a_model_whose_layers_others_move_is_run_and_copied(tiny_models):
    """Where layers are spread over accelerators, accelerate wraps them; here all are in the same place."""
    plain = Decoder.load(tiny_models["llama"])
    moved = AutoModelForCausalLM.from_pretrained(tiny_models["llama"])
    for part in (moved, moved.model.embed_tokens, *moved.model.layers, moved.model.norm, moved.lm_head):
        add_hook_to_module(part, AlignDevicesHook("cpu", io_same_device=part is moved))
    moved = Decoder(moved)
    ids, mask = padded(ROWS, plain.device)
    delta = LowRank(plain.site(3, MODULE), torch.randn(64, 1), torch.randn(1, 128))
    for decoder in (moved, edited(moved, Edit((delta,)))):
        hidden, context = decoder.read(ids[:, :4], mask[:, :4])
        hidden, _ = decoder.read(ids[:1, 4:], mask[:1, 4:], context.rows(torch.tensor([0])))
        expected = plain if decoder is moved else edited(plain, Edit((delta,)))
        whole, _ = expected.read(ids[:1], mask[:1])
        torch.testing.assert_close(decoder.logits(hidden)[0], expected.logits(whole)[0, 4:])


def test_layers_without_accelerators_are_not_spread(tiny_models):
    with pytest.raises(UserError, match=r"raise `compute\.accelerators`"):
        Decoder.load(tiny_models["llama"], accelerators=2)


def test_half_precision_runs(tiny_models):
    decoder = Decoder.load(tiny_models["llama"], dtype="bfloat16")
    hidden, _ = decoder.read(*padded(ROWS, decoder.device))
    assert hidden.dtype == torch.bfloat16
    assert decoder.logits(hidden).isfinite().all()
