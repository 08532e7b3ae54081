import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from clme import transfers
from clme.errors import UserError
from clme.patience import LONGEST_WAIT
from clme.transfers import ATTEMPTS, fetch_file, fetch_json
from file_server import FileServer

CONTENT = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with FileServer({"/a.bin": CONTENT}) as found:
        yield found


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(transfers, "CHUNK", 4096)


def fetch(server, folder, checksum=SHA256):
    fetch_file(f"{server.address}/a.bin", folder / "to" / "a.bin", checksum)
    return (folder / "to" / "a.bin").read_bytes()


def leftovers(folder):
    return {path.name for path in (folder / "to").iterdir()} - {"a.bin", ".a.bin.lock"}


@pytest.mark.parametrize("checksum", [SHA256, "md5:" + hashlib.md5(CONTENT).hexdigest()])
def test_a_file_is_downloaded_once(server, tmp_path, checksum):
    assert fetch(server, tmp_path, checksum) == CONTENT
    assert fetch(server, tmp_path, checksum) == CONTENT
    assert server.requests["/a.bin"] == 1
    assert not leftovers(tmp_path)


def test_a_download_that_breaks_off_is_resumed(server, tmp_path, waits):
    server.cut.add("/a.bin")
    assert fetch(server, tmp_path) == CONTENT
    assert len(server.resumed) == 1
    assert 0 < server.resumed[0] < len(CONTENT)
    assert waits


def test_a_part_of_an_earlier_process_is_used(server, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / ".a.bin.part").write_bytes(CONTENT[:5000])
    assert fetch(server, tmp_path) == CONTENT
    assert server.resumed == [5000]


@pytest.mark.usefixtures("waits")
def test_a_server_without_ranges(server, tmp_path):
    server.ranges = False
    server.cut.add("/a.bin")
    assert fetch(server, tmp_path) == CONTENT


@pytest.mark.usefixtures("waits")
def test_a_part_that_is_too_long(server, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / ".a.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path) == CONTENT


@pytest.mark.usefixtures("waits")
def test_a_wrong_byte_is_noticed_and_mended(server, tmp_path):
    server.damaged.add("/a.bin")
    assert fetch(server, tmp_path) == CONTENT
    assert not server.resumed, "a damaged part isn't continued"


@pytest.mark.usefixtures("waits")
def test_another_file_is_refused(server, tmp_path):
    expected = "sha256:" + "0" * 64
    with pytest.raises(
        UserError, match=rf"a\.bin: could not be had in {ATTEMPTS} attempts .*{SHA256}"
    ) as error:
        fetch(server, tmp_path, expected)
    assert expected in str(error.value)
    assert not (tmp_path / "to" / "a.bin").exists()
    assert not leftovers(tmp_path)


def test_a_changed_file_on_disk_is_downloaded_again(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / "to" / "a.bin").write_bytes(b"changed")
    assert fetch(server, tmp_path) == CONTENT


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, tmp_path, waits, status):
    server.failures = [(status, {})] * 3
    assert fetch(server, tmp_path) == CONTENT
    assert waits == sorted(waits)
    assert len(waits) == 3


def test_the_pause_that_a_server_asks_for(server, tmp_path, waits):
    server.failures = [(429, {"Retry-After": "17"}), (503, {"Retry-After": "9999999"}), (503, {})]
    assert fetch(server, tmp_path) == CONTENT
    assert waits[:2] == [17, LONGEST_WAIT]
    assert waits[2] < 17


def test_what_another_attempt_cannot_mend_is_said_at_once(server, tmp_path, waits):
    with pytest.raises(UserError, match=r"none\.bin: the server answers 404"):
        fetch_file(f"{server.address}/none.bin", tmp_path / "b", SHA256)
    with pytest.raises(UserError, match="nonsense"):
        fetch_file("nonsense://x", tmp_path / "b", SHA256)
    assert not waits


def test_no_server(waits):
    with pytest.raises(UserError, match=r"could not be had .*refused") as error:
        fetch_json("http://127.0.0.1:9/x")
    assert "\n" not in str(error.value)
    assert len(waits) == ATTEMPTS - 1


def test_a_truncated_document_is_asked_for_again(server, waits):
    server.files["/x.json"] = b'{"a": [1, 2, 3]}'
    server.cut.add("/x.json")
    assert fetch_json(f"{server.address}/x.json") == {"a": [1, 2, 3]}
    assert len(waits) == 1
    server.files["/x.json"] = b'{"a": [1,'
    with pytest.raises(UserError, match="isn't JSON"):
        fetch_json(f"{server.address}/x.json")


def test_several_downloads_of_one_file(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fetch(server, tmp_path), range(4)))
    assert found == [CONTENT] * 4
    assert server.requests["/a.bin"] == 1


def test_a_full_disk(server, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / ".a.bin.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"can't be written \(No space left on device\)"):
        fetch(server, tmp_path)
    assert not (tmp_path / "to" / "a.bin").exists()
