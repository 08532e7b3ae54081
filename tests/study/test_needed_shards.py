"""What editors need, made by several jobs: together they make the whole file, byte for byte."""

import pytest

import prepared
from clme.editors import registry
from clme.errors import UserError
from clme.stopping import Stopped
from clme.study import merge_prepared, parts, prepare, vectors
from clme.study.settings import Compute, Selection, Shard
from clme.tensors import read_tensor_metadata, write_tensors

EDITORS = {"vectors": ("memit", {"layers": [1, 2], "steps": 2, "contexts": 2}), "values": ("grace", {})}
EDITORS["fired"] = EDITORS["values"]


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return prepared.write_cases(tmp_path_factory.mktemp("cases") / "cases.parquet", count=20)


def configured(kind):
    name, overrides = EDITORS[kind]
    overrides = {"layer": 3, "steps": 3} if name == "grace" else overrides
    return registry.configured(name, protocol="paper", task="cnle", overrides=overrides, seed=0)


@pytest.fixture(scope="module")
def sources(model, cases, tmp_path_factory):
    """What the kinds are made from."""
    folder = tmp_path_factory.mktemp("sources")
    memit, grace = (prepared.make(configured(kind), model, cases, folder) for kind in ("vectors", "values"))
    return {"vectors": {"contexts": memit["contexts"]}, "values": {}, "fired": {"values": grace["values"]}}


@pytest.fixture
def run(model, cases, sources, tmp_path):
    """Makes a file of a kind, or a shard of it; returns its path."""

    def run(kind, shard=None, journals="journals", **options):
        editor = configured(kind)
        (need,) = [need for need in editor.needs() if need.kind == kind]
        options.setdefault("compute", Compute(batch_cases=3))
        made = prepared.settings(editor, need, **options)
        own = shard and Shard(number=shard[0], of=shard[1])
        output = tmp_path / f"{kind}.{journals}.{shard}.safetensors"
        made = made.model_copy(update={"shard": own})
        prepare.run(kind, model, cases, sources[kind], made, tmp_path / journals, output)
        return output

    return run


@pytest.mark.parametrize("kind", list(EDITORS))
def test_shards_put_together_are_the_whole_file(kind, run, tmp_path):
    """Four batches among one, three and six jobs, some without a case."""
    whole = run(kind)
    for count in (1, 3, 6):
        made = [run(kind, (number, count), f"of{count}") for number in range(1, count + 1)]
        merge_prepared.run(made[::-1], tmp_path / "merged")
        assert (tmp_path / "merged").read_bytes() == whole.read_bytes()


def test_what_is_finished_stays_for_other_numbers_of_shards(run, monkeypatch):
    first = run("vectors", (1, 2))
    made, search = [], vectors.VectorSearch.run
    monkeypatch.setattr(
        vectors.VectorSearch, "run", lambda one: made.extend(one._passages.requests) or search(one)
    )
    whole = run("vectors")
    found = {request.case_id for request in made}
    assert found
    assert found.isdisjoint(read_tensor_metadata(first)["case_ids"])
    assert len(found) + len(read_tensor_metadata(first)["case_ids"]) == 10
    made.clear()
    run("vectors", (2, 3))
    assert not made
    assert read_tensor_metadata(whole)["settings"]["shard"] is None


def test_a_shard_that_is_stopped_goes_on_beside_another(run, monkeypatch, tmp_path):
    whole = run("values", journals="whole")
    other = run("values", (2, 2))
    real, begun = parts.write_tensors, []

    def once(path, tensors, metadata):
        if begun:
            raise Stopped("told to")
        begun.append(path)
        real(path, tensors, metadata)

    monkeypatch.setattr(parts, "write_tensors", once)
    with pytest.raises(Stopped):
        run("values", (1, 2))
    monkeypatch.setattr(parts, "write_tensors", real)
    merge_prepared.run([run("values", (1, 2)), other], tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == whole.read_bytes()


def test_what_is_no_whole_set_of_shards_is_refused(run, tmp_path):
    first, second = (run("values", (number, 2)) for number in (1, 2))
    for given, said in (
        ([first], r"expected all shards of one job \(have: 1 of 2\)"),
        ([first, first], "have: 1 of 2, 1 of 2"),
        ([run("values")], "have: no shard"),
        ([first, run("values", (2, 2), "few", evaluation=Selection(cases=12))], "different settings"),
    ):
        with pytest.raises(UserError, match=said):
            merge_prepared.run(given, tmp_path / "merged")
    about = read_tensor_metadata(second)
    write_tensors(second, {}, {**about, "source_hash": "another"})
    with pytest.raises(UserError, match="were made with different source_hash; rerun one"):
        merge_prepared.run([first, second], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_shards_on_different_hardware_say_so(run, tmp_path):
    first, second = (run("values", (number, 2)) for number in (1, 2))
    about = read_tensor_metadata(second)
    here = about["hardware"]
    write_tensors(second, parts.read_tensors(second), {**about, "hardware": {**here, "device": "another"}})
    merge_prepared.run([first, second], tmp_path / "merged")
    found = read_tensor_metadata(tmp_path / "merged")["hardware"]
    assert found == {**here, "device": f"{here['device']}, another"}


def test_an_editor_refuses_a_shard(run, model, cases):
    editor = configured("values")
    here = {"model": model, "cases": cases, "fold": 0, "editor": "grace"}
    with pytest.raises(UserError, match="is one shard; put all together by `clme merge-prepared`"):
        prepare.given(editor.needs(), {"values": run("values", (1, 2))}, **here)


def test_only_what_can_be_divided_is(model, tmp_path):
    editor = configured("vectors")
    (need,) = [need for need in editor.needs() if need.kind == "contexts"]
    made = prepared.settings(editor, need).model_copy(update={"shard": Shard(number=1, of=2)})
    with pytest.raises(UserError, match="shard: not wanted; files of the kind contexts are made by one job"):
        prepare.run("contexts", model, None, {}, made, tmp_path / "journals", tmp_path / "out")
