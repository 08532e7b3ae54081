import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from clme.errors import UserError
from clme.models import hub, sources
from clme.models.manifest import read_manifest, verify
from hub_server import COMMIT, Hub


@pytest.fixture(scope="module")
def files(tiny_models):
    folder = tiny_models["llama"]
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


@pytest.fixture(autouse=True)
def server(files, monkeypatch):
    with Hub(files) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + URL)
        yield hub


URL = "/{repo_id}/resolve/{revision}/{filename}"


def refused(said, *arguments):
    with pytest.raises(UserError, match=said) as error:
        hub.fetch(*arguments)
    assert "\n" not in str(error.value)


def test_the_first_download_is_recorded_and_obeyed(server, files, tmp_path):
    lock = tmp_path / "lock" / "hub.json"
    sources.fetch("hub:owner/tiny@v1", None, lock, tmp_path / "first")
    assert json.loads(lock.read_text()) == {
        "owner/tiny@v1": {
            "revision": COMMIT,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        }
    }
    manifest = read_manifest(tmp_path / "first")
    assert (manifest["source"], manifest["revision"]) == ("hub:owner/tiny@v1", COMMIT)
    assert manifest["model_type"] == "llama"
    assert {path.name for path in (tmp_path / "first").iterdir()} == {*files, "manifest.json"}
    assert verify(tmp_path / "first") == len(files)
    recorded = lock.read_bytes()
    server.requests.clear()
    sources.fetch("hub:owner/tiny@v1", None, lock, tmp_path / "second")
    assert server.requests["info"] == 0, "the recorded commit is used; the branch isn't asked for"
    assert lock.read_bytes() == recorded
    assert verify(tmp_path / "second") == len(files)


def test_entries_of_other_sources_stay(tmp_path):
    lock = tmp_path / "hub.json"
    lock.write_text('{"other/model": {"revision": "abc", "files": {}}}')
    hub.fetch("owner/tiny", lock, tmp_path / "m")
    assert set(json.loads(lock.read_text())) == {"other/model", "owner/tiny"}


def test_a_changed_file_is_refused_and_does_not_stay(server, files, tmp_path):
    lock = tmp_path / "hub.json"
    sources.fetch("hub:owner/tiny", None, lock, tmp_path / "m")
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    changed = bytearray(files["model.safetensors"])
    changed[-1] ^= 1
    server.files["model.safetensors"] = bytes(changed)
    with pytest.raises(UserError, match=r"hub:owner/tiny: model\.safetensors has sha256 .*expected") as error:
        sources.fetch("hub:owner/tiny", None, lock, tmp_path / "m")
    assert "\n" not in str(error.value)
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    server.files["model.safetensors"] = files["model.safetensors"]
    sources.fetch("hub:owner/tiny", None, lock, tmp_path / "m")
    assert verify(tmp_path / "m") == len(files)


def test_a_first_download_is_checked_against_what_the_hub_says(server, files, tmp_path):
    server.damaged.add("model.safetensors")
    refused(r"model\.safetensors has sha256 .*, expected .*corrupt .*: try again", *arguments(tmp_path))
    assert not (tmp_path / "hub.json").exists()
    hub.fetch(*arguments(tmp_path))
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_a_download_that_breaks_off_is_resumed(server, files, tmp_path, monkeypatch, waits):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 65536)
    server.cut.add("model.safetensors")
    hub.fetch("owner/tiny", tmp_path / "hub.json", tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert [name for name, start in server.ranges if start > 0] == ["model.safetensors"]
    assert waits


@pytest.mark.parametrize("kind", ["info", "HEAD", "GET"])
@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_hub_is_asked_again(server, tmp_path, waits, kind, status):
    server.failures[kind] = [status, status, status]
    assert hub.fetch("owner/tiny", tmp_path / "hub.json", tmp_path / "m") == COMMIT
    assert waits


@pytest.mark.parametrize("kind", ["info", "HEAD", "GET"])
def test_a_hub_that_stays_busy(server, tmp_path, waits, kind):
    server.failures[kind] = [503] * 1000
    refused(rf"hub:owner/tiny: could not be downloaded in {hub.ATTEMPTS} attempts", *arguments(tmp_path))
    assert len(waits) >= hub.ATTEMPTS - 1
    assert not (tmp_path / "hub.json").exists()


def arguments(folder):
    return "owner/tiny", folder / "hub.json", folder / "m"


def test_offline_mode_is_obeyed_at_once(server, tmp_path, monkeypatch, waits):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()  # the session that is open was made online
    refused("hub:owner/tiny: .*offline mode", *arguments(tmp_path))
    lock = {"owner/tiny": {"revision": COMMIT, "files": {"model.safetensors": "0" * 64}}}
    (tmp_path / "hub.json").write_text(json.dumps(lock))
    refused("hub:owner/tiny: .*offline mode", *arguments(tmp_path))
    close_session()
    assert not waits
    assert not server.requests


def test_no_hub_at_all(tmp_path, monkeypatch, waits):
    monkeypatch.setattr(hub, "ATTEMPTS", 2)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9" + URL)
    refused(r"could not be downloaded in \d attempts \(.*refused\)", *arguments(tmp_path))
    lock = {"owner/tiny": {"revision": COMMIT, "files": {"model.safetensors": "0" * 64}}}
    (tmp_path / "hub.json").write_text(json.dumps(lock))
    refused(r"could not be downloaded in \d attempts \(.*refused\)", *arguments(tmp_path))
    assert waits


def test_what_another_attempt_cannot_mend_is_said_at_once(server, tmp_path, waits):
    refused(r"hub:owner/none: .*404", "owner/none", tmp_path / "hub.json", tmp_path / "m")
    refused(r"hub:owner/tiny@v9: .*404", "owner/tiny@v9", tmp_path / "hub.json", tmp_path / "m")
    lock = {"owner/tiny": {"revision": COMMIT, "files": {"gone.safetensors": "0" * 64}}}
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    refused(r"hub:owner/tiny: .*404", "owner/tiny", tmp_path / "lock.json", tmp_path / "m")
    assert not waits
    assert server.requests["GET"] == 0


def test_formats_that_can_run_code_are_not_loaded(server, tmp_path):
    server.files["pytorch_model.bin"] = server.files.pop("model.safetensors")
    refused(r"hub:owner/tiny: holds no safetensors; formats that can run code", *arguments(tmp_path))
    assert server.requests["GET"] == 0


def test_a_damaged_lock_file(server, tmp_path):
    (tmp_path / "hub.json").write_text("{")
    refused(r"hub\.json: not JSON .*; restore it from version control", *arguments(tmp_path))
    assert not server.requests


def test_a_mirror_is_chosen_by_the_environment(server, tmp_path):
    command = [Path(sys.executable).with_name("clme"), "model", "fetch", "--source", "hub:owner/tiny"]
    command += ["--lock", tmp_path / "hub.json", "--output", tmp_path / "m"]
    environment = {**os.environ, "HF_ENDPOINT": server.endpoint}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m" / "manifest.json").exists()
    assert set(json.loads((tmp_path / "hub.json").read_text())) == {"owner/tiny"}
