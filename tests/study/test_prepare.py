"""What is made before editing: right, resumable, shared, and refused where it doesn't belong."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import prepared
from clme.editors import codebooks, registry
from clme.editors.base import Editor, EditorConfig, Failure, Need, State
from clme.editors.grace import Grace
from clme.editors.vectors import VectorSearch
from clme.edits import Edit
from clme.errors import UserError
from clme.models.decoder import Decoder
from clme.models.text import Tokenizer
from clme.representations import Representations, represent
from clme.study import needs, prepare, values
from clme.study.cases import read_cases
from clme.study.jobs import request_of
from clme.study.settings import Compute, Selection, Training
from clme.tensors import read_tensor_metadata

LAYER = {"layer": 3, "steps": 5}


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama"]


@pytest.fixture(scope="module")
def decoder(model):
    return Decoder.load(model)


@pytest.fixture
def cases(tmp_path):
    return prepared.write_cases(tmp_path / "cases.parquet")


class LearnerConfig(EditorConfig):
    layer: int = 3
    rate: float = 1.0
    sees_test: bool = False


class Learner(Editor):
    """Learns which cases it was shown."""

    name = "learner"
    Config = LearnerConfig
    least_training = 3

    def needs(self):
        about = {"layer": self.config.layer, "module": "mlp.down_proj"}
        trained = {"seed": self.seed, "layer": self.config.layer, "sees_test": self.config.sees_test}
        return (
            Need("representations", about, shortcut=True),
            Need("state", trained, sees_test=self.config.sees_test),
        )

    def fit(self, decoder, training, test, files, folder):
        seen = Representations(files["representations"])
        checkpoint = folder / "checkpoint"
        resumed = checkpoint.exists()
        checkpoint.write_text("here")
        shown = torch.stack([seen.of(case.case_id, "mean").sum(dim=0) for case in [*training, *test]])
        counts = torch.tensor([len(training), len(test), resumed])
        return State({"shown": shown, "counts": counts}, ({"epoch": 0.0, "loss": 0.5},))

    def edit(self, decoder, requests):
        return [Edit() for _ in requests]


@pytest.fixture
def learner(monkeypatch):
    entry = SimpleNamespace(module=__name__, load=lambda: Learner)
    monkeypatch.setattr(registry, "_registered", lambda: {"learner": entry})
    monkeypatch.setattr("clme.study.prepare.source_hash", lambda *_: "source")
    return Learner(LearnerConfig(), seed=7)


def grace(**changes):
    return Grace(Grace.configured("paper", {**LAYER, **changes}), seed=0)


def requests(decoder, model, cases):
    return [request_of(case) for case in prepared.encoded(model, decoder, cases)]


def test_representations_are_the_modules_inputs(model, decoder, cases, tmp_path, learner):
    path = prepared.make(learner, model, cases, tmp_path)["representations"]
    found = Representations(path)
    inputs = []
    module = decoder.model.base_model.layers[3].mlp.down_proj
    handle = module.register_forward_hook(lambda _, args, __: inputs.append(args[0]))
    tokenizer = Tokenizer.load(model)
    for case in read_cases(cases):
        for number, text in enumerate([case.prompt, case.rephrase, *case.neighbours]):
            inputs.clear()
            with torch.no_grad():
                decoder.model(torch.tensor([tokenizer.encode(text)]))
            (x,) = inputs[0]
            torch.testing.assert_close(found.of(case.case_id, "last")[number], x[-1], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                found.of(case.case_id, "mean")[number], x.mean(dim=0), rtol=1e-4, atol=1e-5
            )
    handle.remove()
    assert load_file(path)["mean"].dtype == torch.float32
    with pytest.raises(UserError, match="lacks case other"):
        found.of("other", "mean")


def test_a_prompt_of_several_cases_is_read_once(model, cases, tmp_path, learner, monkeypatch):
    from clme.study import representations

    read = []

    def counted(decoder, site, prompts, batch_tokens):
        read.extend(prompts)
        return represent(decoder, site, prompts, batch_tokens)

    frame = pd.read_parquet(cases)
    frame["neighbours"] = [frame["neighbours"][0]] * len(frame)
    common = tmp_path / "common.parquet"
    frame.to_parquet(common)
    monkeypatch.setattr(representations, "represent", counted)
    path = prepared.make(learner, model, common, tmp_path)["representations"]
    assert len(read) == len(set(read))
    found = Representations(path)
    first, *others = [found.of(case.case_id, "last") for case in read_cases(common)]
    assert all(torch.equal(first[2:], other[2:]) for other in others)
    assert not torch.equal(first[0], others[0][0])


def test_representations_cover_edited_and_trained_on_cases_only(model, cases, tmp_path, learner):
    options = {"evaluation": Selection(cases=1, skip=5), "training": Training(cases=2)}
    need = learner.needs()[0]
    path = tmp_path / "some.safetensors"
    job = prepared.settings(learner, need, **options)
    prepare.run("representations", model, cases, {}, job, tmp_path / "journals", path)
    # Folds alternate: fold 0 is trained on cases 1 and 3, fold 1 on 0 and 2, and case 5 is edited.
    expected = ["case-0", "case-1", "case-2", "case-3", "case-5"]
    assert read_tensor_metadata(path)["case_ids"] == expected


def spread(name, **changes):
    overrides = {"layers": [1, 2], "steps": 4, "contexts": 2, "learning_rate": 0.1, **changes}
    return registry.configured(name, protocol="paper", task="cnle", overrides=overrides, seed=0)


@pytest.mark.parametrize("name", ["memit", "pmet"])
def test_vectors_from_a_file_give_the_edits_that_are_made_without(
    name, model, decoder, cases, tmp_path, monkeypatch
):
    editor, plain = spread(name), spread(name)
    files = prepared.make(editor, model, cases, tmp_path)
    wanted = requests(decoder, model, cases)[:6:2]
    plain.load(decoder, {kind: path for kind, path in files.items() if kind != "vectors"})
    expected = plain.edit(decoder, wanted)
    editor.load(decoder, files)
    monkeypatch.setattr("clme.editors.spread.VectorSearch", None)
    runs = []
    handle = decoder.layers[-1].register_forward_hook(lambda *_: runs.append(1))
    found = editor.edit(decoder, wanted)
    handle.remove()
    assert len(runs) == 1  # for the loss of the result: what only the search needs isn't read
    for one, other in zip(found, expected, strict=True):
        assert [delta.site for delta in one.deltas] == [delta.site for delta in other.deltas]
        for mine, its in zip(one.deltas, other.deltas, strict=True):
            change, wished = mine.left @ mine.right, its.left @ its.right
            torch.testing.assert_close(change, wished, rtol=1e-2, atol=1e-3 * float(wished.abs().max()))
        assert one.steps == other.steps
        assert one.loss == pytest.approx(other.loss, rel=1e-3, abs=1e-4)


def test_vectors_are_shared_by_rows_that_write_them_otherwise():
    def digest(**changes):
        return next(need.digest for need in spread("memit", **changes).needs() if need.kind == "vectors")

    assert digest() == digest(mom2_update_weight=1.0) == digest(layers=[0, 2])
    assert len({digest(), digest(steps=5), digest(layers=[1, 3])}) == 3


def test_a_search_that_fails_is_left_to_the_edit(model, decoder, cases, tmp_path, monkeypatch):
    editor = spread("memit")
    search = VectorSearch.run

    def run(self):
        failing = self._passages.requests[0].case_id == "case-0"
        found = search(self)
        return [Failure("the loss became nan in step 1"), *found[1:]] if failing else found

    monkeypatch.setattr(VectorSearch, "run", run)
    files = prepared.make(editor, model, cases, tmp_path, compute=Compute(batch_cases=1))
    assert "case-0" not in read_tensor_metadata(files["vectors"])["case_ids"]
    editor.load(decoder, files)
    first, second = editor.edit(decoder, requests(decoder, model, cases)[:4:2])
    assert first == Failure("the loss became nan in step 1")
    assert second.steps > 0


def test_vectors_need_contexts(model, cases, tmp_path):
    editor = spread("memit")
    need = next(need for need in editor.needs() if need.kind == "vectors")
    with pytest.raises(UserError, match="--needs contexts=FILE: missing"):
        prepare.run(
            "vectors", model, cases, {}, prepared.settings(editor, need), tmp_path / "j", tmp_path / "out"
        )


def test_loaded_values_give_the_edits_that_are_made_without(model, decoder, cases, tmp_path):
    editor, plain = grace(), grace()
    files = prepared.make(editor, model, cases, tmp_path)
    editor.load(decoder, files)
    wanted = requests(decoder, model, cases)[:6]
    for shared, own in zip(editor.edit(decoder, wanted), plain.edit(decoder, wanted), strict=True):
        torch.testing.assert_close(shared.deltas[0].values, own.deltas[0].values, rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(shared.deltas[0].keys, own.deltas[0].keys)
        assert shared.loss == pytest.approx(own.loss, rel=1e-3, abs=1e-4)


def test_loaded_values_are_not_optimised_again(model, decoder, cases, tmp_path, monkeypatch):
    editor = grace()
    editor.load(decoder, prepared.make(editor, model, cases, tmp_path))
    asked = []
    real = codebooks.optimise

    def counted(decoder, site, config, seed, requests):
        asked.extend(request.case_id for request in requests)
        return real(decoder, site, config, seed, requests)

    monkeypatch.setattr(codebooks, "optimise", counted)
    editor.edit(decoder, requests(decoder, model, cases)[:4])
    assert asked == ["case-1", "case-3"], "the file holds fold 0, the even cases"


def test_an_interrupted_preparation_goes_on(model, cases, tmp_path, monkeypatch):
    calls = []
    real = values.optimise

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(values, "optimise", failing)
    with pytest.raises(KeyboardInterrupt):
        prepared.make(grace(), model, cases, tmp_path)
    assert not list(tmp_path.glob("values.*"))
    files = prepared.make(grace(), model, cases, tmp_path)
    assert len(calls) == 3, "six cases in batches of three: one before the interruption, one after"
    assert read_tensor_metadata(files["values"])["need"]["steps"] == 5


def test_the_state_sees_the_other_folds_only(model, cases, tmp_path, learner):
    files = prepared.make(learner, model, cases, tmp_path, fold=1)
    state = load_file(files["state"])
    assert state["counts"].tolist() == [6, 0, 0]
    seen = Representations(files["representations"])
    expected = torch.stack([seen.of(f"case-{number}", "mean").sum(dim=0) for number in range(0, 12, 2)])
    assert torch.equal(state["shown"], expected)
    assert read_tensor_metadata(files["state"])["curve"] == [{"epoch": 0.0, "loss": 0.5}]
    again = prepared.make(learner, model, cases, tmp_path, fold=1)
    assert load_file(again["state"])["counts"][2] == 1, "a rerun finds the checkpoints"


@pytest.mark.usefixtures("learner")
def test_the_fold_itself_is_seen_where_the_need_says_so(model, cases, tmp_path):
    leaking = Learner(LearnerConfig(sees_test=True), seed=7)
    files = prepared.make(leaking, model, cases, tmp_path, evaluation=Selection(cases=5))
    assert load_file(files["state"])["counts"][:2].tolist() == [6, 3], "cases 0, 2 and 4 are edited"


def test_too_few_cases_to_train_on(model, cases, tmp_path, learner):
    with pytest.raises(
        UserError, match=r"2 cases to train on outside of the fold, at least 3.*training.cases"
    ):
        prepared.make(learner, model, cases, tmp_path, training=Training(cases=2))


def test_files_of_another_origin_are_refused(tiny_models, model, cases, tmp_path):
    editor = grace()
    files = prepared.make(editor, model, cases, tmp_path)
    here = {"model": model, "cases": cases, "fold": 0, "editor": "grace"}
    assert prepare.given(editor.needs(), files, **here) == files
    assert prepare.given(editor.needs(), {}, **here) == {}, "a shortcut may be missing"
    other_cases = prepared.write_cases(tmp_path / "other.parquet", seed=1)
    for change, said in (
        ({"model": tiny_models["qwen2"]}, "another model"),
        ({"cases": other_cases}, "another dataset"),
        ({"fold": 1}, "another fold"),
    ):
        with pytest.raises(UserError, match=said):
            prepare.given(editor.needs(), files, **{**here, **change})
    with pytest.raises(UserError, match=r"another layer \(3, grace has 2\)"):
        prepare.given(grace(layer=2).needs(), files, **here)
    with pytest.raises(UserError, match="no use for it"):
        prepare.given((), files, **here)


def test_a_missing_file_says_how_to_make_it(model, cases, learner):
    here = {"model": model, "cases": cases, "fold": 0, "editor": "learner"}
    with pytest.raises(UserError, match="clme prepare state"):
        prepare.given(learner.needs(), {}, **here)


def test_settings_must_say_what_the_file_belongs_to(model, cases, tmp_path):
    editor = grace()
    job = prepared.settings(editor, editor.needs()[0])
    for wrong, said in (
        (job.model_copy(update={"fold": None}), "fold: missing"),
        (job.model_copy(update={"editor": "grace"}), "editor: not wanted"),
        (job.model_copy(update={"need": {"seed": 0}}), "need.layer: missing"),
    ):
        with pytest.raises(UserError, match=said):
            prepare.run("values", model, cases, {}, wrong, tmp_path / "j", tmp_path / "out.safetensors")


def test_equal_needs_have_one_name():
    first, second = grace().needs()[0], grace(radius=2.0).needs()[0]
    assert first.digest == second.digest, "the radius has no part in the value"
    assert first.digest != grace(steps=6).needs()[0].digest
    assert replace(first, shortcut=False).digest == first.digest
    assert set(needs.KINDS) >= {"representations", "values", "state"}


def test_what_is_said_is_shared_only_where_decoded_tokens_are_not_compared():
    assert [need.kind for need in grace().needs()] == ["values", "fired"]
    assert [need.kind for need in grace(decoding=True).needs()] == ["values"]
