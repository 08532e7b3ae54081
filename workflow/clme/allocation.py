"""What the batch system that runs this process says of the job: its id, and how long it may still run."""

import os
import re
import subprocess
import time
from collections.abc import Sequence

ID_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""Where SLURM, PBS, LSF and Grid Engine name the job."""
END_VARIABLE = "SLURM_JOB_END_TIME"
"""Seconds since the epoch; SLURM sets it from version 23.02 on."""
_ASKED = ("squeue", "--noheader", "--format=%L", "--jobs")
_LEFT = re.compile(r"(?:(\d+)-)?((?:\d+:){0,2}\d+)")


def job_id() -> str | None:
    """Return the job's id; None outside of a batch system."""
    return next((os.environ[name] for name in ID_VARIABLES if os.environ.get(name)), None)


def seconds_left() -> float | None:
    """Return how long the job may still run, in seconds; None if that isn't limited or not known."""
    end = os.environ.get(END_VARIABLE, "")
    if end.isdecimal():
        return int(end) - time.time()
    job = os.environ.get("SLURM_JOB_ID")
    return _parsed(_said([*_ASKED, job])) if job else None


def _said(command: Sequence[str]) -> str:
    """Return what a command prints; nothing if it fails, isn't there, or doesn't answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _parsed(left: str) -> float | None:
    """Read a time such as ``1-02:03:04``, ``3:04`` or ``59``; other words mean no limit."""
    found = _LEFT.fullmatch(left)
    if found is None:
        return None
    seconds = 0
    for part in found[2].split(":"):
        seconds = 60 * seconds + int(part)
    return float(seconds + 86400 * int(found[1] or 0))
