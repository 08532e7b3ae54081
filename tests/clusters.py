"""Runs the cluster tests' study through the profile, and looks after its jobs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
SLURM = ROOT / "tests/slurm"
CLUSTER = SLURM / "cluster"
PATIENCE = 480.0
"""Seconds after which an outcome is no longer waited for; none should take half of that."""
QUICK = {
    "slurm-init-seconds-before-status-checks": 1,
    "max-status-checks-per-second": 2,
    "latency-wait": 20,
    "jobs": 8,
    "cores": 1,
}
"""Over the profile's, so that a test doesn't wait for what a cluster should not be asked for."""
COSTS = ["edit_seconds", "peak_memory_mb"]
Found = TypeVar("Found")


def eventually(look: Callable[[], Found]) -> Found:
    """Return what is found as soon as there is something."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, f"waited in vain for {look}"
        time.sleep(0.2)
    return found


class Workdir:
    """A working directory with the tests' study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[Run] = []

    def abandon(self) -> None:
        """Kill what still runs here, as after a test that has failed."""
        for run in self.runs:
            run.kill()

    @classmethod
    def create(cls, folder: Path) -> "Workdir":
        """Lay out what a user has: the profile, the site's settings, the study; and the tests' editor."""
        (folder / "slurm").mkdir()
        shutil.copyfile(ROOT / "slurm/config.yaml", folder / "slurm/config.yaml")
        (folder / "slurm/site.yaml").write_text("cpu: cpu\ngpu: gpu\ngpu_model: fake\n")
        shutil.copyfile(SLURM / "study.yaml", folder / "study.yaml")
        registered = folder / "editors/held-0.dist-info"
        registered.mkdir(parents=True)
        (registered / "METADATA").write_text("Metadata-Version: 2.1\nName: held\nVersion: 0\n")
        (registered / "entry_points.txt").write_text("[clme.editors]\nheld = held:Held\n")
        shutil.copyfile(SLURM / "held.py", folder / "editors/held.py")
        return cls(folder)

    def edits(self, row: str, folds: int = 2) -> list[str]:
        """The results of a row of the study."""
        return [f"results/edits/tiny-llama/cnle/{row}/fold{fold}.parquet" for fold in range(folds)]

    def slurm_log(self, job: str) -> str:
        """What SLURM has written for a job."""
        (path,) = (self.folder / "results/logs/slurm").rglob(f"{job}.log")
        return path.read_text()

    def log(self, rule: str, name: str) -> str:
        """What a job has written into its log so far."""
        path = self.folder / "results/logs" / rule / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def rows(self, path: str) -> bytes:
        """The result columns of an edit job as bytes, without its row's name: rows can be compared."""
        table = pq.read_table(self.folder / path).replace_schema_metadata(None)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.drop_columns(["editor", *COSTS]).schema) as stream:
            stream.write_table(table.drop_columns(["editor", *COSTS]).combine_chunks())
        return sink.getvalue().to_pybytes()

    def cases(self, path: str) -> list[str]:
        """The cases of an edit job's result."""
        return pq.read_table(self.folder / path).column("case_id").to_pylist()


class Orders:
    """What the jobs of a row are told, and what they have done (see held.py)."""

    def __init__(self, workdir: Workdir, row: str) -> None:
        self._folder = workdir.folder / "orders" / row
        self._folder.mkdir(parents=True)

    def hold(self) -> None:
        """Let jobs wait before their second batch."""
        (self._folder / "hold").touch()

    def release(self) -> None:
        """Let waiting jobs go on."""
        (self._folder / "hold").unlink()

    def take(self, megabytes: int) -> None:
        """Let jobs take so much memory from their second batch on."""
        (self._folder / "take").write_text(str(megabytes))

    def waiting(self) -> list[tuple[str, int]]:
        """SLURM's number of each job that has waited, and its process."""
        lines = [line.split() for line in self._lines("waiting") if len(line.split()) == 2]
        return [(job, int(process)) for job, process in lines]

    def told(self) -> bool:
        """Whether a waiting job knows that it is to stop."""
        return (self._folder / "told").exists()

    def edited(self) -> list[str]:
        """The case of each batch that was begun; more than once if more than one process has begun it."""
        return self._lines("edited")

    def _lines(self, name: str) -> list[str]:
        path = self._folder / name
        return path.read_text().splitlines() if path.exists() else []


def _heed_interrupts() -> None:
    """As in a terminal: where tests run in the background of a shell, SIGINT is ignored by all they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Run:
    """A running Snakemake."""

    def __init__(self, workdir: Workdir, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--nocolor"]
        command += ["--configfile", "study.yaml", *arguments]
        places = [str(workdir.folder / "editors"), str(ROOT / "workflow")]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(places)}
        self._log = workdir.folder / f"run{len(list(workdir.folder.glob('run*.log')))}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=workdir.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_heed_interrupts,
            )
        workdir.runs.append(self)

    @property
    def said(self) -> str:
        """All that was printed."""
        return self._log.read_text()

    def ends(self) -> int:
        """Wait for the end; returns the status."""
        return self.process.wait(2 * PATIENCE)

    def succeeds(self) -> str:
        """Wait for the end, which must be a good one; returns what was printed."""
        status = self.ends()
        assert status == 0, self.said[-6000:]
        return self.said

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill outright."""
        self.process.kill()
        self.process.wait()


def snakemake(workdir: Workdir, *arguments: object) -> Run:
    """Start Snakemake on this machine."""
    return Run(workdir, [str(one) for one in arguments])


def submitting(workdir: Workdir, *arguments: object) -> Run:
    """Start Snakemake with the profile, as a user does, but that it asks for news more often."""
    quick = [word for name, value in QUICK.items() for word in (f"--{name}", str(value))]
    return Run(workdir, ["--profile", "slurm", *quick, *(str(one) for one in arguments)])


class Submitted(NamedTuple):
    """A job as SLURM has it; its comment tells the rule or the group."""

    number: str
    partition: str
    gpus: str
    rule: str
    folder: str


class Cluster:
    """The SLURM that the tests run on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def state(self, job: str) -> str:
        """The state of a job, such as RUNNING."""
        return _said("squeue", "--noheader", "--states=all", "--format=%T", "--jobs", job)

    def history(self, workdir: Workdir) -> list[Submitted]:
        """All jobs that there have been for a working directory, the oldest first."""
        lines = _said("scontrol", "show", "job", "--oneliner").splitlines()
        fields = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if line.startswith("JobId=")]
        jobs = [
            Submitted(
                found["JobId"],
                found["Partition"],
                found.get("TresPerJob", ""),
                found["Comment"].removeprefix("rule_").split("_wildcards_")[0],
                found["WorkDir"],
            )
            for found in fields
        ]
        of_folder = [job for job in jobs if job.folder == str(workdir.folder)]
        return sorted(of_folder, key=lambda job: int(job.number))

    def node(self, job: str) -> str:
        """The node where a job runs."""
        return _said("squeue", "--noheader", "--format=%N", "--jobs", job)

    def cancel(self, job: str, *options: str) -> None:
        """Cancel a job, or send it a signal."""
        _said("scancel", *options, job)

    def limit(self, job: str, minutes: int) -> None:
        """Set the time limit of a running job, counted from its start."""
        _said("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")

    def kill_daemon(self, node: str) -> None:
        """Kill a node's daemon; what runs there goes on."""
        subprocess.run([CLUSTER, "kill", self._folder, node], check=True)

    def kill_node(self, node: str, *jobs: str) -> None:
        """Kill a node's daemon and, outright, all that belongs to the jobs that it runs."""
        self.kill_daemon(node)
        # First what would tell of the others' end.
        for name in ("slurmstepd", ""):
            for process in psutil.process_iter(["cmdline", "environ"]):
                if process.info["environ"] is not None and _belongs(process.info, name, jobs):
                    process.kill()

    def revive(self, node: str) -> None:
        """Start a node's daemon again."""
        subprocess.run([CLUSTER, "revive", self._folder, node], check=True)


def _belongs(process: dict[str, Any], name: str, jobs: Sequence[str]) -> bool:
    """Whether a process is of the jobs: by the title of what watches over a job, else by its environment."""
    title = " ".join(process["cmdline"] or [])
    if name:
        return title.startswith(name) and any(f"[{job}." in title for job in jobs)
    return process["environ"].get("SLURM_JOB_ID") in jobs


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
