"""Runs the workflow as a user does, for tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRESETS = ROOT / "workflow/presets"


def snakemake(folder, *arguments, preset="smoke", own_group=False, **environment):
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", PRESETS / f"{preset}.yaml", "--nocolor", *arguments]
    bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "PATH": bin_first, **environment},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=own_group,
    )
    return done.returncode, done.stdout + done.stderr


def planned(said):
    """The rules of a dry run with their numbers of jobs."""
    table = re.search(r"^Job stats:\n.*?\n-.*?\n(.*?)\n\n", said, re.S | re.M)
    if table is None:
        return {}
    jobs = dict(line.split() for line in table[1].splitlines())
    return {rule: int(count) for rule, count in jobs.items() if rule not in ("total", "all")}
