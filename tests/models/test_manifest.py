import json

import pytest

from clme.errors import UserError
from clme.models.manifest import manifest_sha256, read_manifest, verify, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("abc")
    write_manifest(tmp_path, {"source": "path:here"})
    return tmp_path


def test_a_manifest_lists_every_file_with_its_checksum(folder):
    manifest = read_manifest(folder)
    assert manifest["source"] == "path:here"
    assert set(manifest["files"]) == {"config.json", "sub/a.txt"}
    # FIPS 180-2, appendix B.1
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest["files"]["sub/a.txt"] == {"sha256": sha256, "bytes": 3}
    assert verify(folder) == 2


def test_a_changed_and_a_missing_file_are_named(folder):
    (folder / "sub" / "a.txt").write_text("abd")
    with pytest.raises(UserError, match=r"sub/a\.txt: was changed \(sha256 .*; fetch it again"):
        verify(folder)
    (folder / "sub" / "a.txt").unlink()
    with pytest.raises(UserError, match=r"sub/a\.txt: is missing; delete .* and fetch it again"):
        verify(folder)


def test_the_checksum_of_a_model_is_that_of_its_files(folder):
    before = manifest_sha256(folder)
    write_manifest(folder, {"source": "path:elsewhere", "versions": {"python": "3.99"}})
    assert manifest_sha256(folder) == before
    (folder / "sub" / "a.txt").rename(folder / "sub" / "b.txt")
    write_manifest(folder, {"source": "path:here"})
    assert manifest_sha256(folder) != before


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": 3}', None])
def test_a_damaged_manifest(tmp_path, text):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(
        UserError, match=r"manifest\.json: no manifest .*make the folder by `clme model"
    ) as error:
        read_manifest(tmp_path)
    assert "\n" not in str(error.value)


def test_entries_without_checksum(folder):
    (folder / "manifest.json").write_text(json.dumps({"files": {"config.json": 3}}))
    for check in (manifest_sha256, verify):
        with pytest.raises(UserError, match="no manifest"):
            check(folder)
