import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clme import cli
from clme.errors import UserError

CLME = Path(sys.executable).with_name("clme")


def commands(group=cli.group, path=()):
    """All commands with their paths, those below groups included."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(path, option):
    done = CliRunner().invoke(cli.group, [*path, option])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Usage: ")
    assert len(done.output.splitlines()) > 3


def test_an_unknown_command():
    done = CliRunner().invoke(cli.group, ["edt"])
    assert done.exit_code == 2
    assert "No such command 'edt'" in done.output


def run(*arguments):
    return subprocess.run([CLME, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_an_error_that_the_user_can_mend_is_one_line(tmp_path):
    done = run("aggregate", tmp_path / "gone.parquet", "--output", tmp_path / "metrics.parquet")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"clme: error: {tmp_path}/gone.parquet: no such file; run the rule that makes it")


def test_another_error_is_a_traceback(monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "group", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_main_turns_the_error_into_the_exit_status(monkeypatch, capsys):
    def fail():
        raise UserError("x: wrong; do y")

    monkeypatch.setattr(cli, "group", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == "clme: error: x: wrong; do y\n"


@pytest.mark.parametrize("command", ["baseline", "edit"])
def test_a_settings_file_that_is_not_there(tmp_path, command):
    files = ["m", "cases.parquet", *(["baseline.parquet"] if command == "edit" else [])]
    options = ["--settings", f"@{tmp_path}/gone.json", "--journals", tmp_path, "--output", tmp_path / "x"]
    done = CliRunner().invoke(cli.group, [command, *files, *map(str, options)])
    assert isinstance(done.exception, UserError)
    assert f"{tmp_path}/gone.json: can't be read" in str(done.exception)
