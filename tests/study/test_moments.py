"""Second moments: right for all layers in one pass, resumable, exchanged, refused where they don't belong."""

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import rank_one
from clme.datasets.texts import TEXTS
from clme.editors.memit import Memit
from clme.editors.moments import Moments, factored
from clme.editors.npz import samples_of, write_npz
from clme.editors.rome import Rome
from clme.errors import UserError
from clme.files import write_parquet
from clme.models.decoder import Decoder
from clme.models.text import Tokenizer
from clme.stopping import Stopped, told_by_signals
from clme.study import moments, prepare
from clme.study.settings import Compute, MomentsSettings, PrepareSettings
from clme.tensors import read_tensor_metadata, read_tensors, write_tensors

LAYERS = [1, 3, 4]
LINES = [line for line in Path(rank_one.__file__).read_text().splitlines() if line.strip()]


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["qwen2"]


@pytest.fixture(scope="module")
def decoder(model):
    return Decoder.load(model)


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.parquet"
    write_parquet(path, pd.DataFrame({"text": [*LINES, ""]}), schema=TEXTS, metadata={})
    return path


def settings(layers=LAYERS, read_tokens=256, **options):
    about = {"corpus": "packages", "samples": len(LINES) + 1, "max_tokens": 24, **options}
    need = {"layers": layers, "module": "mlp.down_proj", **MomentsSettings(**about).model_dump()}
    return PrepareSettings(model="tiny", need=need, compute=Compute(read_tokens=read_tokens))


def make(model, texts, output, chosen=None):
    files = {} if texts is None else {"texts": texts}
    prepare.run("moments", model, None, files, chosen or settings(), output.parent / "journals", output)
    return read_tensors(output)


def test_all_layers_equal_the_reference(model, decoder, texts, tmp_path):
    tokenizer = Tokenizer.load(model)
    rows = [tokenizer.encode(line)[:24] for line in LINES]
    found = make(model, texts, tmp_path / "m.safetensors")
    assert int(found["tokens"]) == sum(map(len, rows))
    expected = rank_one.second_moments(decoder.model, LAYERS, rows)
    for layer in LAYERS:
        mean = found[f"layers.{layer}.mlp.down_proj.sum"].double() / int(found["tokens"])
        torch.testing.assert_close(mean, expected[layer], rtol=1e-4, atol=1e-6)
    about = read_tensor_metadata(tmp_path / "m.safetensors")
    assert (about["samples_used"], about["tokens"]) == (len(LINES) + 1, int(found["tokens"]))
    assert "note" not in about


def test_fast_mode_uses_a_part_and_says_so(model, texts, tmp_path):
    whole = make(model, texts, tmp_path / "whole.safetensors")
    part = make(model, texts, tmp_path / "part.safetensors", settings(fraction=0.25))
    about = read_tensor_metadata(tmp_path / "part.safetensors")
    used = round((len(LINES) + 1) / 4)
    assert int(part["tokens"]) < int(whole["tokens"]) / 2
    assert about["note"] == f"second moments over {used} of {len(LINES) + 1} texts of packages"


def test_an_interrupted_pass_goes_on_and_gives_the_same_bytes(model, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "GROUP", 20)
    monkeypatch.setattr(moments, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    make(model, texts, tmp_path / "once" / "m.safetensors")
    read, calls = moments.read_texts, []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        read(*arguments)

    monkeypatch.setattr(moments, "read_texts", broken)
    resumed = tmp_path / "resumed" / "m.safetensors"
    with pytest.raises(KeyboardInterrupt):
        make(model, texts, resumed)
    make(model, texts, resumed)
    groups = -(-(len(LINES) + 1) // 20)
    assert len(calls) < 4 + groups, "groups in the checkpoint are not read again"
    assert resumed.read_bytes() == (tmp_path / "once" / "m.safetensors").read_bytes()


def test_a_pass_that_is_told_to_stop_reads_no_group_twice(model, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "GROUP", 20)
    make(model, texts, tmp_path / "once" / "m.safetensors")
    read, calls = moments.read_texts, []

    def told(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        read(*arguments)

    monkeypatch.setattr(moments, "read_texts", told)
    resumed = tmp_path / "resumed" / "m.safetensors"
    with told_by_signals(), pytest.raises(Stopped, match=r"40 of .* texts are done; stopped by SIGTERM"):
        make(model, texts, resumed)
    make(model, texts, resumed)
    assert len(calls) == -(-(len(LINES) + 1) // 20)
    assert resumed.read_bytes() == (tmp_path / "once" / "m.safetensors").read_bytes()


def test_exported_files_are_as_rome_writes_them_and_come_back(model, texts, tmp_path):
    path = tmp_path / "m.safetensors"
    found = make(model, texts, path)
    folder = tmp_path / "stats" / "tiny"
    written = write_npz(path, folder, "model.", samples_of(path))
    number = len(LINES) + 1
    assert [one.name for one in written] == [
        f"model.layers.{layer}.mlp.down_proj_float32_mom2_{number}.npz" for layer in LAYERS
    ]
    with np.load(written[0]) as stored:
        assert sorted(stored) == ["mom2.constructor", "mom2.count", "mom2.mom2", "sample_size"]
        assert str(stored["mom2.constructor"]) == "util.runningstats.SecondMoment()"
        assert (int(stored["mom2.count"]), int(stored["sample_size"])) == (int(found["tokens"]), number)
    corpus = f"npz:{tmp_path}/stats/{{model}}"
    again = make(model, None, tmp_path / "back.safetensors", settings([1, 4], corpus=corpus))
    assert set(again) == {"layers.1.mlp.down_proj.sum", "layers.4.mlp.down_proj.sum", "tokens"}
    assert all(torch.equal(value, found[name]) for name, value in again.items())


def test_files_of_another_model_are_refused(tiny_models, model, texts, tmp_path, decoder):
    path = tmp_path / "m.safetensors"
    make(model, texts, path)
    editor = Memit(Memit.configured("paper", {"layers": LAYERS}), seed=0)
    need = [one for one in editor.needs() if one.kind == "moments"]
    about = {"cases": texts, "fold": 0, "editor": "memit"}
    prepare.given(need, {"moments": path}, model=model, **about)
    with pytest.raises(UserError, match=r"made for another model .*make it anew by `clme prepare moments`"):
        prepare.given(need, {"moments": path}, model=tiny_models["llama"], **about)
    other = Memit(Memit.configured("paper", {"layers": [1, 2]}), seed=0)
    need = [one for one in other.needs() if one.kind == "moments"]
    with pytest.raises(UserError, match=r"another layers \(\[1, 3, 4\], memit has \[1, 2\]\)"):
        prepare.given(need, {"moments": path}, model=model, **about)
    with pytest.raises(UserError, match=r"no second moments of layers\.2\.mlp\.down_proj, but of layers\.1"):
        Moments.load(path, decoder, [decoder.site(2, "mlp.down_proj")])
    narrow = {"layers.1.mlp.down_proj.sum": torch.eye(5), "tokens": torch.tensor(9)}
    write_tensors(tmp_path / "narrow.safetensors", narrow, {})
    with pytest.raises(UserError, match=r"of 5 inputs, the model has 128; they are another model's"):
        Moments.load(tmp_path / "narrow.safetensors", decoder, [decoder.site(1, "mlp.down_proj")])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"corpus": "npz:nowhere"}, "nowhere: no such folder"),
        ({"layers": [1, 9]}, "layer 9: the model has layers 0 to 5"),
    ],
)
def test_bad_settings(model, texts, tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        make(model, texts, tmp_path / "m.safetensors", settings(**options))


def test_texts_are_asked_for(model, tmp_path):
    with pytest.raises(UserError, match="--needs texts=FILE: missing; make the file by `clme texts`"):
        make(model, None, tmp_path / "m.safetensors")


def test_singular_and_nearly_singular_moments_are_refused():
    generator = torch.Generator().manual_seed(0)
    keys, noise = torch.randn(500, 20, generator=generator), torch.randn(500, generator=generator)
    factor = factored(keys.T @ keys, 500, "here")
    torch.testing.assert_close(factor @ factor.T, (keys.T @ keys / 500).double())
    with pytest.raises(UserError, match=r"here: .* 20 inputs over 19 tokens are singular; raise `moments"):
        factored(keys[:19].T @ keys[:19], 19, "here")
    dead = keys.clone()
    dead[:, 3] = 0
    twin = keys.clone()
    twin[:, 3] = twin[:, 4] + 1e-5 * noise
    broken = keys.clone()
    broken[0, 0] = float("nan")
    for bad in (dead, twin, broken):
        with pytest.raises(UserError, match=r"singular, or nearly so; .*`moments.precision: float64`"):
            factored(bad.T @ bad, 500, "here")
    twin = twin.double()
    factored(twin.T @ twin, 500, "here")  # in float64 that small a difference is real


def test_rome_needs_moments_only_where_it_uses_them():
    def kinds(**options):
        return [need.kind for need in Rome(Rome.configured("paper", options), seed=0).needs()]

    assert kinds() == ["contexts"]
    assert kinds(mom2_adjustment=True) == ["contexts", "moments"]
