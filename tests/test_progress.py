import io
import sys

import pytest

from clme import progress
from clme.progress import Progress


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that only the test moves."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    with Progress("grace tiny/cnle fold 0", 40, "case") as shown:
        for _ in range(40):
            clock.now += 1.0
            shown.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"grace tiny/cnle fold 0: {number}/40 cases" for number in (10, 20, 30, 40)
    ]
    assert "00:10 so far, 00:30 left" in lines[0]
    assert "1.00case/s" in lines[0]


def test_what_was_done_before_is_said_and_does_not_count_for_the_rate(clock, capsys):
    with Progress("edit", 40, "case", done=30) as shown:
        clock.now += 20.0
        shown.advance(5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "edit: 30 of 40 cases were done before"
    assert lines[1].startswith("edit: 35/40 cases, 00:20 so far, 00:20 left")


def test_the_last_item_is_always_said(capsys):
    with Progress("edit", 2, "case") as shown:
        shown.advance()
        shown.advance()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("edit", 3, "case", done=1) as shown:
        shown.advance(2)
    assert "3/3" in terminal.getvalue()
    assert "edit: " in terminal.getvalue()
