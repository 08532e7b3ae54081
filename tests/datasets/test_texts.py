"""Texts for second moments: from pinned packages, from Parquet files."""

import json

import pandas as pd
import pytest
from huggingface_hub import constants

import wheels
from clme.datasets import texts
from clme.datasets.wheels import Wheel
from clme.errors import UserError
from clme.files import read_metadata, read_parquet
from hub_server import COMMIT, Hub


def run(corpus, tmp_path, samples=1000, seed=0):
    texts.run(corpus, tmp_path / "raw", tmp_path / "lock.json", samples, seed, tmp_path / "out/texts.parquet")
    return read_parquet(tmp_path / "out/texts.parquet", schema=texts.TEXTS)["text"].tolist()


def shards(folder, sizes):
    rows = [f"text {number}" for number in range(sum(sizes))]
    start = 0
    folder.mkdir()
    for number, size in enumerate(sizes):
        frame = pd.DataFrame({"title": "t", "text": rows[start : start + size]})
        frame.to_parquet(folder / f"{number}.parquet", row_group_size=3)
        start += size
    return rows


def test_a_random_choice_over_all_shards(tmp_path):
    rows = shards(tmp_path / "in", [7, 1, 12])
    everything = run(f"path:{tmp_path}/in", tmp_path)
    assert sorted(everything) == sorted(rows)
    assert everything != rows
    few = run(f"path:{tmp_path}/in", tmp_path, samples=5)
    assert few == everything[:5]
    assert run(f"path:{tmp_path}/in", tmp_path, samples=5, seed=1) != few
    about = read_metadata(tmp_path / "out/texts.parquet")
    assert (about["corpus"], about["seed"]) == (f"path:{tmp_path}/in", "1")


def test_bad_files(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="holds no Parquet files"):
        run(f"path:{tmp_path}/in", tmp_path)
    pd.DataFrame({"body": ["x"]}).to_parquet(tmp_path / "in/a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: has no column `text`, but body"):
        run(f"path:{tmp_path}/in", tmp_path)
    (tmp_path / "in/a.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"a\.parquet: not a readable Parquet file"):
        run(f"path:{tmp_path}/in", tmp_path)


def test_pieces_end_at_line_ends():
    lines = [f"line {number} {'x' * (number % 90)}\n" for number in range(200)]
    pieces = list(texts.cut("".join(lines)))
    assert "".join(pieces) == "".join(lines)
    assert all(texts.PIECE <= len(piece) < texts.PIECE + 110 for piece in pieces[:-1])
    assert list(texts.cut("\n\n  \n")) == []


def test_packages_with_targeted_pairs_are_left_out(tmp_path, monkeypatch):
    made = []
    for name in ("alpha", "boltons"):
        content = {f"{name}/code.py": f"# of {name}\n".encode(), f"{name}/tests/test_code.py": b"# a test\n"}
        checksum = wheels.build(tmp_path / "raw", name, "1.0", content)
        made.append(Wheel(f"{name}==1.0", checksum, "MIT"))
    monkeypatch.setattr(texts, "LIBRARIES", made)
    assert run("packages", tmp_path) == ["# of alpha\n"]


def test_parquet_files_of_a_folder_of_the_hub(tmp_path, monkeypatch):
    rows = shards(tmp_path / "in", [4, 3])
    inside = {f"2023.en/{path.name}": path.read_bytes() for path in (tmp_path / "in").iterdir()}
    with Hub({**inside, "2023.de/0.parquet": b"", "2023.en/code.py": b""}, kind="datasets") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        url = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        corpus = "hub:owner/tiny/2023.en@v1"
        first = run(corpus, tmp_path)
        assert sorted(first) == sorted(rows)
        assert read_metadata(tmp_path / "out/texts.parquet")["revision"] == COMMIT
        (entry,) = json.loads((tmp_path / "lock.json").read_text()).items()
        assert entry[0] == "datasets/owner/tiny/2023.en@v1"
        assert set(entry[1]["files"]) == set(inside)
        server.requests.clear()
        assert run(corpus, tmp_path) == first
        assert server.requests["info"] == 0
        with pytest.raises(UserError, match=r"holds no Parquet files in 2023\.fr/"):
            run("hub:owner/tiny/2023.fr", tmp_path)
