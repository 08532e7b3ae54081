import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from chat_server import Chat
from clme.datasets import grading, rephrasing, services
from clme.datasets.grading import LEVELS, UNGRADED, level
from clme.datasets.services import ATTEMPTS, Service
from clme.datasets.settings import ServiceSettings
from clme.errors import UserError
from clme.patience import LONGEST_WAIT

SECRET = "sk-a-very-secret-key"


@pytest.fixture
def chat():
    with Chat(lambda text: text.upper()) as server:
        yield server


def service(chat, folder, max_tokens=16, **changes):
    settings = ServiceSettings(base_url=chat.base_url, model="m", **{"concurrency": 1, **changes})
    return Service(settings, folder / "answers.sqlite", max_tokens)


def test_each_prompt_is_asked_once(chat, tmp_path):
    assert service(chat, tmp_path).ask(["a", "b", "a"], "x") == ["A", "B", "A"]
    assert sorted(chat.asked) == ["a", "b"]
    assert service(chat, tmp_path).ask(["b", "c"], "x") == ["B", "C"]
    assert sorted(chat.asked) == ["a", "b", "c"]
    assert {(body["temperature"], body["max_tokens"], body["model"]) for body in chat.bodies} == {
        (0, 16, "m")
    }


def test_another_model_or_length_is_asked_again(chat, tmp_path):
    service(chat, tmp_path).ask(["a"], "x")
    other = ServiceSettings(base_url=chat.base_url, model="n")
    Service(other, tmp_path / "answers.sqlite", 16).ask(["a"], "x")
    service(chat, tmp_path, max_tokens=17).ask(["a"], "x")
    assert len(chat.asked) == 3


def test_an_estimate_asks_nothing(chat, tmp_path):
    priced = service(chat, tmp_path, input_price=2.0, output_price=10.0)
    priced.ask(["known"], "x")
    before = len(chat.asked)
    found = priced.estimate(["known", "n" * 400, "n" * 400])
    assert (found.prompts, found.cached, found.input_tokens, found.output_tokens) == (2, 1, 100, 16)
    assert found.cost == pytest.approx((100 * 2 + 16 * 10) / 1e6)
    assert len(chat.asked) == before
    assert "unknown" in str(service(chat, tmp_path).estimate(["x"]))


@pytest.mark.parametrize(
    "trouble",
    [(429, {}), (500, {}), (503, {}), b'{"id": "1", "choices": [{"mess', b'{"choices": []}', b"null", b""],
)
def test_trouble_that_passes(chat, tmp_path, waits, trouble):
    chat.script = [trouble, trouble]
    assert service(chat, tmp_path).ask(["a"], "x") == ["A"]
    assert len(waits) == 2


def test_the_pause_that_a_service_asks_for(chat, tmp_path, waits):
    chat.script = [(429, {"Retry-After": "23"}), (429, {"Retry-After": "86400"})]
    service(chat, tmp_path).ask(["a"], "x")
    assert waits == [23, LONGEST_WAIT]


def test_trouble_that_stays(chat, tmp_path, waits):
    chat.script = [(500, {})] * ATTEMPTS
    with pytest.raises(UserError, match=rf"no answer in {ATTEMPTS} attempts .*what was answered is kept"):
        service(chat, tmp_path).ask(["a"], "x")
    assert len(waits) == ATTEMPTS - 1


def test_a_refusal_is_said_at_once_and_what_was_answered_is_kept(chat, tmp_path, waits):
    service(chat, tmp_path).ask(["a"], "x")
    chat.script = [(401, {})]
    with pytest.raises(UserError, match="the service refuses") as error:
        service(chat, tmp_path).ask(["a", "b"], "x")
    assert "\n" not in str(error.value)
    assert not waits
    assert service(chat, tmp_path).ask(["a"], "x") == ["A"]
    assert chat.asked == ["a"]


def test_no_server(tmp_path, waits):
    settings = ServiceSettings(base_url="http://127.0.0.1:9/v1", model="m")
    with pytest.raises(UserError, match="no answer in"):
        Service(settings, tmp_path / "answers.sqlite", 4).ask(["a"], "x")
    assert waits


def test_the_key_comes_from_the_environment_and_is_written_nowhere(chat, tmp_path, monkeypatch, capfd):
    asking = service(chat, tmp_path, key_variable="TEST_KEY")
    monkeypatch.delenv("TEST_KEY", raising=False)
    with pytest.raises(UserError, match="set the environment variable TEST_KEY"):
        asking.ask(["a"], "x")
    monkeypatch.setenv("TEST_KEY", SECRET)
    asking.ask(["a"], "x")
    assert chat.headers[-1]["authorization"] == f"Bearer {SECRET}"
    chat.script = [(403, {})]
    with pytest.raises(UserError) as error:
        asking.ask(["b"], "x")
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err + str(error.value)
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


def test_the_number_of_requests_at_a_time_is_bounded(chat, tmp_path):
    prompts = [f"p{number}" for number in range(12)]
    assert service(chat, tmp_path, concurrency=3).ask(prompts, "x") == [text.upper() for text in prompts]
    assert 1 <= chat.at_once <= 3


def test_requests_are_paced(chat, tmp_path, waits):
    service(chat, tmp_path, requests_per_minute=60).ask(["a", "b", "c"], "x")
    assert len(waits) == 3
    assert sum(waits) == pytest.approx(1 + 2, abs=0.9)


def test_a_run_that_was_killed_asks_nothing_twice(chat, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from clme.datasets.services import Service\nfrom clme.datasets.settings import ServiceSettings\n"
        "settings = ServiceSettings(base_url=sys.argv[1], model='m', concurrency=1)\n"
        "Service(settings, Path(sys.argv[2]), 16).ask([f'p{n}' for n in range(50)], 'x')\n"
    )
    killed = {}

    def answer(text):
        if len(chat.asked) == 8:
            os.kill(killed["process"].pid, signal.SIGKILL)
        return text.upper()

    chat.answer = answer
    command = [sys.executable, script, chat.base_url, tmp_path / "answers.sqlite"]
    killed["process"] = subprocess.Popen(list(map(str, command)))
    assert killed["process"].wait(timeout=240) == -signal.SIGKILL
    answered = set(chat.asked[:7])
    chat.asked.clear()
    chat.answer = str.upper
    prompts = [f"p{number}" for number in range(50)]
    assert service(chat, tmp_path).ask(prompts, "x") == [text.upper() for text in prompts]
    assert not answered & set(chat.asked)


def test_a_damaged_cache(chat, tmp_path):
    (tmp_path / "answers.sqlite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(UserError, match=r"answers\.sqlite: can't be used as a cache"):
        service(chat, tmp_path).ask(["a"], "x")


def test_a_full_disk(chat, tmp_path, monkeypatch):
    service(chat, tmp_path).ask(["a"], "x")
    connect = sqlite3.connect

    def small(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 3")
        return database

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(UserError, match=r"answers\.sqlite: can't be written \(database or disk is full\)"):
        service(chat, tmp_path).ask(["b" * 9000], "x")
    monkeypatch.undo()
    before = len(chat.asked)
    assert service(chat, tmp_path).ask(["a"], "x") == ["A"]
    assert len(chat.asked) == before


def test_two_runs_at_once_pay_once(chat, tmp_path):
    prompts = [f"p{number}" for number in range(20)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: service(chat, tmp_path).ask(prompts, "x"), range(2)))
    assert found == [[text.upper() for text in prompts]] * 2
    assert sorted(chat.asked) == sorted(prompts)


# What is done with the answers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *((name, name) for name in LEVELS),
        ("very relevant.", "Very Relevant"),
        ("**Relevant**", "Relevant"),
        ("Level: Very  irrelevant", "Very Irrelevant"),
        ("", UNGRADED),
        ("5", UNGRADED),
        ("Relevant or Neutral", UNGRADED),
    ],
)
def test_levels_of_answers(answer, expected):
    assert level(answer) == expected


def pairs(rows):
    return pd.DataFrame(
        {
            "pair_id": [f"p{number}" for number in range(rows)],
            "input": [f"sort {{x}} {number}" for number in range(rows)],
            "target": [f"x.sort({number})" for number in range(rows)],
        }
    )


def test_pairs_are_graded_by_a_service(chat, tmp_path):
    chat.answer = lambda text: (
        "unsure" if "x.sort(3)" in text else "Very Relevant" if "1" in text else "Neutral"
    )
    graded = grading.grade_by_service(pairs(40), service(chat, tmp_path))
    assert graded["grade"][3] == UNGRADED
    assert set(grading.relevant(graded)["input"]) == {t for t in pairs(40)["input"] if "1" in t}
    assert "sort {x} 7" in "".join(chat.asked), "braces of code are no fields of the prompt"


def test_a_grader_that_knows_no_levels(chat, tmp_path):
    chat.answer = lambda _: "five of five"
    with pytest.raises(UserError, match=r"4 of 4 answers of the grader are .* such as 'five of five'"):
        grading.grade_by_service(pairs(4), service(chat, tmp_path))


def test_intents_are_rewritten_by_a_service(chat, tmp_path):
    answers = {"0": "order x", "1": "Sort {x} 1.", "2": "a\nb", "3": ""}
    chat.answer = lambda text: answers[text.strip()[-1]]
    frame = pairs(5).assign(targeted=[True] * 4 + [False])
    found = rephrasing.rewrite_by_service(frame, service(chat, tmp_path))
    assert found.to_dict("records") == [{"pair_id": "p0", "rephrase": "order x"}]
    assert len(chat.asked) == 4


@pytest.mark.parametrize("name", [grading.PROMPT, rephrasing.PROMPT])
def test_prompts_are_there_with_their_version(name):
    assert services.prompt(name).strip()
    assert name.rsplit("-", 1)[1].isdigit()


# A real server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_server(tiny_models, tmp_path_factory):
    """`transformers serve` with a random model."""
    folder = tmp_path_factory.mktemp("served")
    for path in tiny_models["llama"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told["chat_template"] = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", folder, "--host", "127.0.0.1"]
    command += ["--port", port, "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            assert process.poll() is None, "the server stopped"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_a_real_server(real_server, tmp_path):
    base_url, model = real_server
    settings = ServiceSettings(base_url=base_url, model=model, concurrency=2)
    asking = Service(settings, tmp_path / "answers.sqlite", 8)
    first = asking.ask(["sort a list", "reverse a string"], "x")
    assert len(first) == 2
    assert all(isinstance(answer, str) for answer in first)
    # From the cache: an address without a server gives the same.
    assert asking.estimate(["sort a list", "reverse a string"]).cached == 2
    again = Service(settings, tmp_path / "other.sqlite", 8).ask(["sort a list"], "x")
    assert again == first[:1], "temperature 0"
