import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clme import leases
from clme.errors import UserError
from clme.study.journal import Journal

ABOUT = {"settings": {"model": "tiny"}, "seed": 0}


def filled(folder):
    with Journal(folder, ABOUT) as journal:
        journal.write("batch a", {"a": [1, 2]})
        journal.write("batch b", {"b": "ü\n"})
    return journal.path


def test_records_come_back(tmp_path):
    path = filled(tmp_path / "journals")
    assert path.name.endswith(".jsonl")
    with Journal(tmp_path / "journals", ABOUT) as journal:
        assert journal.records == {"identity": ABOUT, "batch a": {"a": [1, 2]}, "batch b": {"b": "ü\n"}}
        assert not journal.path.exists(), "nothing to add, no file"
        journal.write("batch c", 3)
    assert keys(path) == ["identity", "batch a", "batch b"]
    assert keys(journal.path) == ["batch c"]


def keys(path):
    return [json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_changed_settings_start_another(tmp_path):
    path = filled(tmp_path)
    before = path.read_bytes()
    with Journal(tmp_path, {**ABOUT, "seed": 1}) as journal:
        assert list(journal.records) == ["identity"]
    with Journal(tmp_path, dict(reversed(ABOUT.items()))) as journal:
        assert len(journal.records) == 3, "the order of keys is no setting"
    assert path.read_bytes() == before


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_off_anywhere_it_goes_on_with_its_whole_lines(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("journal")
    path = filled(folder)
    content = path.read_bytes()
    kept = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:kept])
    whole = content[:kept].count(b"\n")
    with Journal(folder, ABOUT) as journal:
        assert list(journal.records) == ["identity", "batch a", "batch b"][: max(whole, 1)]
        journal.write("batch c", 3)
    assert path.read_bytes() == content[:kept], "what another run has left is never changed"
    with Journal(folder, ABOUT) as journal:
        assert list(journal.records)[-1] == "batch c"


@pytest.mark.parametrize(
    "damage",
    [b"\0" * 40, b"{}", b'{"key": "batch a"}', b"3", b"\xff\xfe"],
    ids=["zeros", "no key", "no value", "a number", "no UTF-8"],
)
def test_a_damaged_line_is_named_and_no_other_is_lost(tmp_path, damage):
    path = filled(tmp_path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
    said = r"line 2 is damaged; delete this line \(what it held is computed again\) and rerun"
    for _ in range(2):  # the lock is free again after the error
        with pytest.raises(UserError, match=said) as error:
            Journal(tmp_path, ABOUT).__enter__()
    assert "\n" not in str(error.value)
    path.write_bytes(b"\n".join([lines[0], lines[2], b""]))
    with Journal(tmp_path, ABOUT) as journal:
        assert list(journal.records) == ["identity", "batch b"]


def test_of_two_live_writers_neither_damages_anything(tmp_path, monkeypatch):
    """The first was suspended for so long that the second has taken over."""
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(leases, "_place", lambda: None)
    with Journal(tmp_path, ABOUT) as first:
        first.write("batch a", {"a": 1, "b": 1})
        first._stream.write('{"key": "batch c", ')  # in the middle of writing
        first._stream.flush()
        with Journal(tmp_path, ABOUT) as second:
            assert second.records["batch a"] == {"a": 1, "b": 1}
            second.write("batch a", {"a": 2})
            first._stream.write('"value": 3}\n')
            with pytest.raises(UserError, match="has taken over from this process"):
                first.write("batch d", 4)
            with pytest.raises(UserError, match="has taken over from this process"):
                first.check()
            second.check()
            second.write("batch e", 5)
    with Journal(tmp_path, ABOUT) as third:
        values = {"batch a": {"a": 2}, "batch c": 3, "batch d": 4, "batch e": 5}
        assert third.records == {"identity": ABOUT, **values}, "the later owner's records count"


def test_a_second_process_waits_and_then_has_the_first_ones_records(tmp_path, capsys):
    found = {}
    waiting = threading.Event()

    def second():
        journal = Journal(tmp_path, ABOUT)
        waiting.set()
        with journal:
            found.update(journal.records)

    with Journal(tmp_path, ABOUT) as first:
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait()
        thread.join(0.3)
        assert thread.is_alive()
        first.write("batch a", 1)
        assert found == {}
    thread.join(10)
    assert found == {"identity": ABOUT, "batch a": 1}
    assert "works on it; waiting" in capsys.readouterr().err


def test_records_are_on_disk_before_the_next_begins(tmp_path):
    with Journal(tmp_path, ABOUT) as journal:
        journal.write("batch a", 1)
        assert json.loads(journal.path.read_bytes().splitlines()[-1]) == {"key": "batch a", "value": 1}


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "journals"):
        with pytest.raises(UserError, match=r"file.*: the folder can't be made") as error:
            Journal(folder, ABOUT).__enter__()
        assert "\n" not in str(error.value)


def test_a_full_disk_ends_the_job_and_keeps_what_was_written(tmp_path, monkeypatch):
    path = filled(tmp_path)

    def full(_):
        raise OSError(28, "No space left on device")

    with Journal(tmp_path, ABOUT) as journal:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(UserError, match=r"the journal can't be written \(No space left on device\)"):
            journal.write("batch c", 3)
        assert "batch c" not in journal.records
    monkeypatch.undo()
    assert path.read_bytes().count(b"\n") >= 3
    with Journal(tmp_path, ABOUT) as journal:
        assert list(journal.records)[:3] == ["identity", "batch a", "batch b"]
