"""Language-model services: any endpoint that speaks OpenAI's protocol, asked once for each prompt.

Every answer is on disk before it is used, under a hash of all that determines it: a run that was killed
goes on without asking again. The key comes from the environment and is never written.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import openai
from filelock import FileLock

from clme.datasets.settings import ServiceSettings
from clme.errors import UserError, first_line
from clme.files import make_folder
from clme.patience import Transient, asked_wait, patiently
from clme.progress import Progress

ATTEMPTS = 8
TIMEOUT = 120.0
CHARACTERS_PER_TOKEN = 4
"""A rule of thumb, for estimates only."""


@dataclass(frozen=True)
class Estimate:
    """What a run would ask for.

    Attributes:
        prompts: different prompts.
        cached: those that were answered before.
        input_tokens: of the rest, about.
        output_tokens: of the rest, at most.
        cost: of the rest at the settings' prices, about; None without prices.
    """

    prompts: int
    cached: int
    input_tokens: int
    output_tokens: int
    cost: float | None

    def __str__(self) -> str:
        cost = "unknown (give the service's prices)" if self.cost is None else f"{self.cost:.2f}"
        return (
            f"{self.prompts} prompts, {self.cached} answered before, {self.prompts - self.cached} to ask:"
            f" about {self.input_tokens} tokens in, at most {self.output_tokens} out, cost {cost}"
        )


def prompt(name: str) -> str:
    """Return a prompt's text by its name and version, such as ``grade-1``."""
    return (resources.files("clme.datasets") / "templates" / f"{name}.txt").read_text(encoding="utf-8")


class Service:
    """Asks a service at temperature 0.

    Args:
        settings: where it is and how fast it may be asked.
        cache: SQLite file of its answers.
        max_tokens: an answer's length at most.

    Raises:
        UserError: the key isn't in the environment (once something is asked), or the cache can't be opened.
    """

    def __init__(self, settings: ServiceSettings, cache: Path, max_tokens: int) -> None:
        self._settings, self._cache, self._max_tokens = settings, cache, max_tokens
        self._pace = threading.Lock()
        self._next = 0.0

    def estimate(self, prompts: Sequence[str]) -> Estimate:
        """Say what `ask` would ask for."""
        wanted = {self._key(text): text for text in prompts}
        answered = set(self._answered(wanted))
        rest = [text for key, text in wanted.items() if key not in answered]
        tokens_in = sum(len(text) for text in rest) // CHARACTERS_PER_TOKEN
        tokens_out = len(rest) * self._max_tokens
        prices = (self._settings.input_price, self._settings.output_price)
        known = prices[0] is not None and prices[1] is not None
        cost = (tokens_in * (prices[0] or 0) + tokens_out * (prices[1] or 0)) / 1e6 if known else None
        return Estimate(len(wanted), len(answered), tokens_in, tokens_out, cost)

    def ask(self, prompts: Sequence[str], label: str) -> list[str]:
        """Return the answers, those of earlier runs from the cache.

        Args:
            prompts: in any order; one that is there twice is asked for once.
            label: what the progress is called.

        Raises:
            UserError: the service refuses, or can't be reached. What was answered is kept.
        """
        wanted = {self._key(text): text for text in prompts}
        make_folder(self._cache.parent)
        # A second run waits here, and then finds the answers of the first.
        with FileLock(self._cache.with_name(f".{self._cache.name}.lock")):
            answers = self._answered(wanted)
            rest = {key: text for key, text in wanted.items() if key not in answers}
            if rest:
                with Progress(label, len(wanted), "prompt", len(answers)) as progress:
                    answers |= self._ask_all(rest, progress)
        return [answers[self._key(text)] for text in prompts]

    def _ask_all(self, rest: dict[str, str], progress: Progress) -> dict[str, str]:
        client = openai.OpenAI(
            base_url=self._settings.base_url, api_key=self._secret(), max_retries=0, timeout=TIMEOUT
        )
        answers: dict[str, str] = {}
        todo = iter(rest.items())
        one_at_a_time, stop = threading.Lock(), threading.Event()
        workers = self._settings.concurrency
        with closing(self._open()) as database, ThreadPoolExecutor(workers) as pool:

            def work() -> None:
                while not stop.is_set():
                    with one_at_a_time:
                        key, text = next(todo, (None, ""))
                    if key is None:
                        return
                    answer = self._ask(client, text)
                    with one_at_a_time:
                        self._keep(database, key, answer)
                        answers[key] = answer
                        progress.advance()

            try:
                # Each takes one prompt after the other: a task for each of 594,000 would take a gigabyte.
                done, _ = wait([pool.submit(work) for _ in range(workers)], return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                # Also when interrupted: what is under way is still kept, the rest isn't begun.
                stop.set()
        return answers

    def _ask(self, client: openai.OpenAI, text: str) -> str:
        try:
            return patiently(lambda: self._request(client, text), ATTEMPTS)
        except Transient as error:
            raise UserError(
                f"{self._settings.base_url}: no answer in {ATTEMPTS} attempts ({error}); what was answered is"
                " kept, so run it again later"
            ) from error

    def _request(self, client: openai.OpenAI, text: str) -> str:
        self._wait_for_turn()
        try:
            answer = client.chat.completions.create(
                model=self._settings.model,
                messages=[{"role": "user", "content": text}],
                temperature=0,
                max_tokens=self._max_tokens,
            )
            content = answer.choices[0].message.content
        except openai.APIStatusError as error:
            status = error.status_code
            if status in (408, 409, 429) or status >= 500:
                raise Transient(f"status {status}", asked_wait(error.response.headers)) from error
            said = self._without_secret(first_line(error))
            raise UserError(f"{self._settings.base_url}: the service refuses: {said}") from None
        except (openai.APIConnectionError, openai.APIResponseValidationError) as error:
            raise Transient(self._without_secret(first_line(error))) from error
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise Transient(f"not an answer of the protocol ({type(error).__name__})") from error
        if not isinstance(content, str):
            raise Transient("an answer without text")
        return content.strip()

    def _wait_for_turn(self) -> None:
        if self._settings.requests_per_minute is None:
            return
        with self._pace:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 60 / self._settings.requests_per_minute
        time.sleep(turn - now)

    def _secret(self) -> str:
        name = self._settings.key_variable
        if name is None:
            return "none"
        if not os.environ.get(name):
            raise UserError(f"{self._settings.base_url}: set the environment variable {name} to the key")
        return os.environ[name]

    def _without_secret(self, said: str) -> str:
        name = self._settings.key_variable
        secret = os.environ.get(name, "") if name else ""
        return said.replace(secret, "***") if secret else said

    def _key(self, text: str) -> str:
        """Return the hash of all that determines an answer."""
        asked = [self._settings.base_url, self._settings.model, self._max_tokens, 0, text]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def _open(self) -> sqlite3.Connection:
        try:
            database = sqlite3.connect(self._cache, check_same_thread=False)
            # A log beside the file: it survives that the program is killed, and an answer needs not wait for
            # the disk, which can take 40 ms each. Only a crash of the whole machine can lose the last ones.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)"
            )
            database.commit()
        except sqlite3.Error as error:
            raise UserError(f"{self._cache}: can't be used as a cache ({error}); delete it") from error
        return database

    def _answered(self, wanted: dict[str, str]) -> dict[str, str]:
        if not self._cache.exists():
            return {}
        with closing(self._open()) as database:
            rows = database.execute("SELECT key, answer FROM answers")
            return {key: answer for key, answer in rows if key in wanted}

    def _keep(self, database: sqlite3.Connection, key: str, answer: str) -> None:
        try:
            database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, answer))
            database.commit()
        except sqlite3.Error as error:
            raise UserError(f"{self._cache}: can't be written ({error})") from error
