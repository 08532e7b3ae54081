import errno
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clme.errors import UserError
from clme.files import atomic, read_metadata, read_parquet, sha256_file, write_parquet, write_text

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("count", pa.int8(), nullable=False),
        pa.field("texts", pa.list_(pa.string()), nullable=False),
        pa.field("seconds", pa.float64()),
    ]
)
FRAME = pd.DataFrame(
    {"name": ["a", "ü"], "count": [1, 2], "texts": [["x", "y"], []], "seconds": [0.5, float("nan")]}
)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_written_file_is_whole_and_has_the_usual_permissions(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_scraps(tmp_path):
    path = tmp_path / "b.txt"
    write_text(path, "old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("new, but")
            assert temporary.suffix == ".txt"
            raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for place, said in (("b.txt", "a file has its name"), ("sub/b.txt", "Not a directory")):
        with pytest.raises(UserError, match=rf"file.*: the folder can't be made \({said}\)") as error:
            write_text(tmp_path / "file" / place, "x")
        one_line(error)


def test_a_full_disk(tmp_path, monkeypatch):
    write_text(tmp_path / "b.txt", "old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"b\.txt: can't be written \(No space left on device\)"):
        write_text(tmp_path / "b.txt", "new")
    assert (tmp_path / "b.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_checksum_of_a_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "x") == expected
    with pytest.raises(UserError, match=r"gone: can't be read \(No such file or directory\)"):
        sha256_file(tmp_path / "gone")


def test_parquet_keeps_rows_types_and_metadata(tmp_path):
    path = tmp_path / "x.parquet"
    write_parquet(path, FRAME, schema=SCHEMA, metadata={"seed": "3", "note": "ü"})
    assert pq.read_schema(path).remove_metadata() == SCHEMA
    assert read_metadata(path) == {"seed": "3", "note": "ü"}
    found = read_parquet(path, schema=SCHEMA)
    assert found["name"].tolist() == ["a", "ü"]
    assert [list(texts) for texts in found["texts"]] == [["x", "y"], []]
    assert found["seconds"].isna().tolist() == [False, True]


def test_parquet_without_rows_keeps_its_types(tmp_path):
    write_parquet(
        tmp_path / "x.parquet", pd.DataFrame(columns=list(SCHEMA.names)), schema=SCHEMA, metadata={}
    )
    assert len(read_parquet(tmp_path / "x.parquet", schema=SCHEMA)) == 0


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("x", "y"):
        write_parquet(tmp_path / name, FRAME, schema=SCHEMA, metadata={"seed": "3"})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": [1, 300]}, "300"),
        ({"count": ["one", "two"]}, "count"),
        ({"name": [None, "b"]}, "name"),
        ({"texts": ["x", "y"]}, "texts"),
    ],
)
def test_rows_that_do_not_fit_are_not_written(tmp_path, change, said):
    with pytest.raises(UserError, match=f"don't fit its schema.*{said}") as error:
        write_parquet(tmp_path / "x.parquet", FRAME.assign(**change), schema=SCHEMA, metadata={})
    one_line(error)
    with pytest.raises(UserError, match="seconds"):
        write_parquet(tmp_path / "x.parquet", FRAME.drop(columns="seconds"), schema=SCHEMA, metadata={})
    assert not (tmp_path / "x.parquet").exists()


def _missing(path: Path) -> None:
    del path


def _text(path: Path) -> None:
    path.write_text("name,count\na,1\n")


def _cut_off(path: Path) -> None:
    write_parquet(path, FRAME, schema=SCHEMA, metadata={})
    path.write_bytes(path.read_bytes()[:-20])


def _column_missing(path: Path) -> None:
    pq.write_table(pa.table({"name": ["a"], "count": pa.array([1], pa.int8())}), path)


def _null(path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(FRAME.assign(name=["a", None]), preserve_index=False), path)


def _other_type(path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(FRAME.assign(count=["x", "y"]), preserve_index=False), path)


def _text_for_list(path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(FRAME.assign(texts=["x", "y"]), preserve_index=False), path)


def _list_for_text(path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(FRAME.assign(name=[["x"], ["y"]]), preserve_index=False), path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_missing, "no such file; run the rule that makes it"),
        (_text, "not a readable Parquet file .*; delete it and rerun its rule"),
        (_cut_off, "not a readable Parquet file"),
        (_column_missing, r"lacks the column\(s\) texts, seconds; it has name, count"),
        (_null, "wrong type or an empty value .*name"),
        (_other_type, "wrong type or an empty value"),
        (_text_for_list, "wrong type or an empty value"),
        (_list_for_text, "wrong type or an empty value"),
    ],
)
def test_a_bad_parquet_file_is_named(tmp_path, make, said):
    path = tmp_path / "x.parquet"
    make(path)
    with pytest.raises(UserError, match=rf"x\.parquet: .*{said}") as error:
        read_parquet(path, schema=SCHEMA)
    one_line(error)


@pytest.mark.parametrize("make", [_missing, _text, _cut_off])
def test_metadata_of_a_bad_file(tmp_path, make):
    path = tmp_path / "x.parquet"
    make(path)
    with pytest.raises(UserError, match=r"x\.parquet: ") as error:
        read_metadata(path)
    one_line(error)
