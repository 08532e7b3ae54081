"""Many edits one after the other: composed, undone, saved."""

import copy
from dataclasses import replace

import pytest
import torch

import prepared
from clme.editors import registry
from clme.editors.base import Editor, EditorConfig, Failure, Request
from clme.edits import Codebook, Edit, LowRank, edit_hooks
from clme.errors import UserError
from clme.keys import KeyEncoder
from clme.models.decoder import Decoder, Site, padded
from clme.sequences import EditSequence, edited, grown
from clme.tensors import read_tensor_metadata, read_tensors
from reference import fine_tuned_weight

SITE = Site(3, "mlp.down_proj")
REQUESTS = [
    Request("one", (5, 9, 33, 7, 101), (64, 12, 80, 3)),
    Request("two", (17,), (200,)),
    Request("three", (44, 6, 91, 150, 23, 8, 99), (7, 7, 41)),
]


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama"]


@pytest.fixture(scope="module")
def decoder(model):
    return Decoder.load(model)


def make(name, **hyperparameters):
    chosen = registry.editor(name)
    return chosen(chosen.configured("paper", {"layer": 3, "steps": 8, **hyperparameters}), seed=0)


def logits(decoder, prompt, edit=Edit()):  # noqa: B008 (an edit is a value)
    ids, mask = padded([prompt], decoder.device)
    with torch.no_grad():
        hidden, _ = decoder.read(ids, mask, hooks=edit_hooks([edit], prompt_end=mask.sum(dim=1) - 1))
        return decoder.logits(hidden[0, -1])


def entry(key, value=0.0, radius=1.0):
    return Codebook(SITE, torch.tensor([key]), torch.tensor([[value]]), torch.tensor([radius]))


def test_entries_are_added_expanded_and_split():
    book, labels = grown(None, [], entry([0.0, 0.0], 1.0), (1,))
    # Out of reach: 2.5 > 1 + 1.
    book, labels = grown(book, labels, entry([2.5, 0.0], 2.0), (2,))
    assert book.radii.tolist() == [1.0, 1.0]
    # Within reach of the first and of its target: it expands to the distance and takes the new value.
    expanded, same = grown(book, labels, entry([0.0, 1.5], 3.0), (1,))
    assert same == [(1,), (2,)]
    assert expanded.radii.tolist() == [1.5, 1.0]
    assert expanded.values.flatten().tolist() == [3.0, 2.0]
    # Nearer than the radius: nothing shrinks.
    inside, _ = grown(book, labels, entry([0.0, 0.5], 3.0), (1,))
    assert inside.radii.tolist() == [1.0, 1.0]
    # Another target: the distance is split.
    split, three = grown(book, labels, entry([0.0, 1.5], 3.0), (3,))
    assert three == [(1,), (2,), (3,)]
    assert split.radii.tolist() == pytest.approx([0.75 - 1e-5, 1.0, 0.75])
    fires, values = split.lookup(torch.tensor([[0.0, 0.7], [0.0, 0.8], [0.0, -0.8], [2.5, 0.9]]))
    assert fires.tolist() == [True, True, False, True]
    assert values.flatten().tolist()[:2] == [1.0, 3.0]
    assert book.radii.tolist() == [1.0, 1.0], "what was there is not changed"
    # The same place and another target: the newer entry takes it.
    clash, newest = grown(entry([0.0, 0.0], 1.0), [(1,)], entry([0.0, 0.0], 2.0), (2,))
    assert newest == [(2,)]
    assert clash.values.tolist() == [[2.0]]
    assert clash.radii.tolist() == [1.0]


@pytest.mark.parametrize("seed", range(5))
def test_entries_with_different_targets_that_met_do_not_overlap(seed):
    random = torch.Generator().manual_seed(seed)
    book, labels = None, []
    for number in range(12):
        key = (4 * torch.rand(2, generator=random)).tolist()
        before = book
        book, labels = grown(book, labels, entry(key, float(number)), (number,))
        if before is not None:
            distances = (before.keys - book.keys[-1]).norm(dim=1)
            nearest = int(distances.argmin())
            assert book.radii[nearest] + book.radii[-1] <= distances[nearest] + 1e-6
    fires, values = book.lookup(book.keys)
    assert fires.all(), "each entry fires at its own key"
    assert values.flatten().tolist() == [float(label[0]) for label in labels]


def test_codebooks_of_other_places_are_refused():
    book = entry([0.0, 0.0])
    encoder = KeyEncoder(torch.eye(2), torch.eye(2))
    for other in (
        replace(book, site=Site(2, "mlp.down_proj")),
        replace(book, pool="mean"),
        replace(book, encoder=encoder),
    ):
        with pytest.raises(UserError, match="can't be put together"):
            grown(book, [(1,)], other, (2,))
    grown(replace(book, encoder=encoder), [(1,)], replace(book, encoder=copy.deepcopy(encoder)), (2,))


def test_a_codebook_of_many_edits_says_what_each_edit_says(decoder):
    grace = make("grace", radius=0.5)
    sequence = EditSequence(grace, decoder)
    alone = grace.edit(decoder, REQUESTS)
    assert all(isinstance(sequence.teach(request), Edit) for request in REQUESTS)
    (book,) = sequence.edit.deltas
    assert book.keys.shape[0] == 3
    assert sequence.edit.steps == 24
    for request, edit in zip(REQUESTS, alone, strict=True):
        found = logits(decoder, request.prompt, sequence.edit)
        torch.testing.assert_close(found, logits(decoder, request.prompt, edit), rtol=1e-2, atol=1e-2)
        assert not torch.allclose(found, logits(decoder, request.prompt), atol=0.1)
    other = (300, 2, 77, 41)
    assert torch.equal(logits(decoder, other, sequence.edit), logits(decoder, other))


def test_the_same_request_again_trains_its_value_on(decoder):
    sequence = EditSequence(make("grace"), decoder)
    first, second = sequence.teach(REQUESTS[0]), sequence.teach(REQUESTS[0])
    assert second.loss < first.loss
    (book,) = sequence.edit.deltas
    assert torch.equal(book.values, second.deltas[0].values)
    changed = Request("other", REQUESTS[0].prompt, (9, 9))
    sequence.teach(changed)
    (book,) = sequence.edit.deltas
    assert book.keys.shape[0] == 1, "the new target takes the place"
    fires, values = book.lookup(book.keys)
    assert fires.all()
    assert torch.equal(values, sequence.steps[-1].edit.deltas[0].values)


def test_undo_is_exact(decoder):
    sequence = EditSequence(make("grace", radius=50.0), decoder)
    prompt = REQUESTS[0].prompt
    states = [logits(decoder, prompt)]
    for request in REQUESTS:
        sequence.teach(request)
        states.append(logits(decoder, prompt, sequence.edit))
    assert [step.request for step in sequence.steps] == REQUESTS
    for request, state in zip(reversed(REQUESTS), reversed(states), strict=False):
        assert torch.equal(logits(decoder, prompt, sequence.edit), state)
        assert sequence.undo().request == request
    assert torch.equal(logits(decoder, prompt, sequence.edit), states[0])
    with pytest.raises(UserError, match="nothing to undo"):
        sequence.undo()


def test_weights_are_trained_one_after_the_other(decoder):
    """Against the plain reference, which goes on with the model that it has changed."""
    options = {"steps": 6, "learning_rate": 0.005, "stop_loss": 0.0}
    sequence = EditSequence(make("ft_l", norm_constraint=0.05, **options), decoder)
    plain = copy.deepcopy(decoder.model)
    for request in REQUESTS[:2]:
        sequence.teach(request)
        fine_tuned_weight(
            plain, request.prompt, request.target, layer=3, module=SITE.module, bound=0.05, **options
        )
    (dense,) = sequence.edit.deltas
    original = decoder.linear(SITE).weight
    expected = plain.base_model.layers[3].get_submodule(SITE.module).weight
    error = (dense.weight - expected).norm() / (expected - original).norm()
    assert error <= 1e-3
    assert (dense.weight - original).abs().max() > 0.05, "the second bound is around the first result"


class Shift(Editor):
    """Moves a weight by a part of itself, so that the order of edits matters."""

    name = "shift"
    Config = EditorConfig

    def edit(self, decoder, requests):
        weight = decoder.linear(SITE).weight
        if requests[0].case_id == "bad":
            return [Failure("no")]
        number = float(requests[0].target[0])
        return [Edit((LowRank(SITE, number * weight[:, :1] / 50, weight[:1, :] * 1.0),), 1)]


def test_low_rank_changes_add_up_on_the_edited_model(decoder):
    sequence = EditSequence(Shift(EditorConfig(), 0), decoder)
    weight = decoder.linear(SITE).weight.clone()
    for request in REQUESTS:
        sequence.teach(request)
        number = float(request.target[0])
        weight = weight + number / 50 * weight[:, :1] @ weight[:1, :]
    (delta,) = sequence.edit.deltas
    assert delta.left.shape[1] == 3
    changed = edited(decoder, sequence.edit)
    torch.testing.assert_close(changed.linear(SITE).weight, weight, rtol=1e-4, atol=1e-4)
    for request in REQUESTS:
        hooked = logits(decoder, request.prompt, sequence.edit)
        torch.testing.assert_close(hooked, logits(changed, request.prompt), rtol=1e-3, atol=1e-3)
        assert not torch.allclose(hooked, logits(decoder, request.prompt), atol=1e-2)
    assert changed.embedding.weight.data_ptr() == decoder.embedding.weight.data_ptr()
    assert decoder.linear(SITE).weight.data_ptr() != changed.linear(SITE).weight.data_ptr()
    before = sequence.edit
    assert isinstance(sequence.teach(Request("bad", (1,), (2,))), Failure)
    assert len(sequence.steps) == 3
    assert torch.equal(sequence.edit.deltas[0].left, before.deltas[0].left)


def test_a_codebook_is_not_written_into_weights(decoder):
    with pytest.raises(UserError, match="can't be written into weights"):
        edited(decoder, Edit((entry([0.0]),)))


def test_saved_sequences_go_on(decoder, model, tmp_path):
    """A-GRACE: the encoder is in the file once, and the loaded sequence says, undoes and learns the same."""
    chosen = registry.editor("a_grace")
    editor = chosen(chosen.configured("paper", {"layer": 3, "steps": 8, "epochs": 2}), seed=0)
    cases = prepared.write_cases(tmp_path / "cases.parquet")
    editor.load(decoder, prepared.make(editor, model, cases, tmp_path))
    sequence = EditSequence(editor, decoder)
    for request in REQUESTS[:2]:
        sequence.teach(request)
    path = tmp_path / "sequence.safetensors"
    sequence.save(path)
    assert sum(name.endswith("encoder.first") for name in read_tensors(path)) == 1
    assert read_tensor_metadata(path)["editor"] == "a_grace"
    loaded = EditSequence.load(path, editor, decoder)
    for one in (sequence, loaded):
        one.teach(REQUESTS[2])
    for request in REQUESTS:
        mine, theirs = (logits(decoder, request.prompt, one.edit) for one in (sequence, loaded))
        assert torch.equal(mine, theirs)
    assert loaded.undo().request == REQUESTS[2]
    with pytest.raises(UserError, match="a sequence of a_grace, not of grace"):
        EditSequence.load(path, make("grace"), decoder)
    sequence.edit.save(tmp_path / "whole.safetensors")
    whole = Edit.load(tmp_path / "whole.safetensors", decoder.device)
    for request in REQUESTS:
        assert torch.equal(
            logits(decoder, request.prompt, whole), logits(decoder, request.prompt, sequence.edit)
        )
