"""The profile on a real SLURM: a whole study, and edit jobs that are lost in every way.

One file, so that one process has the cluster where tests run in several.
"""

import os
import shutil
import signal

import pytest
import yaml

import tiny
from clusters import Orders, Workdir, eventually, snakemake, submitting

pytestmark = pytest.mark.slurm

ROWS = ["none", "ft_l"]
STAGES = [
    "extract",
    "filter_pairs",
    "grade",
    "deduplicate",
    "split",
    "embed",
    "rephrase",
    "neighbours",
    "cases",
]
NUMBERS = ["answers", "comparisons", "strata", "metrics"]
GROUPS = [*(f"{rule}=stages" for rule in STAGES), *(f"{rule}=publish" for rule in NUMBERS)]
"""What takes seconds in so small a study."""
ENDED = {"CANCELLED", "COMPLETED", "FAILED", "TIMEOUT"}


# Lost jobs ----------------------------------------------------------------------------------------


def held(workdir, *rows):
    """Orders for rows whose jobs wait before their second batch, and the jobs' results."""
    orders = {row: Orders(workdir, row) for row in rows}
    for one in orders.values():
        one.hold()
    return orders, [workdir.edits(row, folds=1)[0] for row in rows]


def first(orders):
    """The first job of a row that has come to its second batch: its number and its process."""
    return eventually(orders.waiting)[0]


def end(cluster, job):
    """The state in which a job ends."""
    return eventually(lambda: (state := cluster.state(job)) in ENDED and state)


def check(workdir, orders):
    """Each row's result is the local run's, and what had been finished was not begun again."""
    (local,) = workdir.edits("local", folds=1)
    for row, one in orders.items():
        (path,) = workdir.edits(row, folds=1)
        assert workdir.rows(path) == workdir.rows(local), row
        begun = one.edited()
        assert set(begun) == set(workdir.cases(local)), row
        assert begun.count(begun[0]) == 1, f"{row}: {begun}"


def test_a_nodes_daemon_and_a_whole_node_are_lost(cluster, workdir):
    """A daemon that comes back has lost nothing; a node's jobs start anew on the other one."""
    orders, paths = held(workdir, "restarted", "moved")
    run = submitting(workdir, "--", *paths)
    jobs = {row: first(one)[0] for row, one in orders.items()}

    node = cluster.node(jobs["restarted"])
    cluster.kill_daemon(node)
    cluster.revive(node)
    orders["restarted"].release()
    assert end(cluster, jobs["restarted"]) == "COMPLETED"

    node = cluster.node(jobs["moved"])
    cluster.kill_node(node, jobs["moved"])
    (_, second) = eventually(lambda: len(waited := orders["moved"].waiting()) == 2 and waited)
    assert second[0] == jobs["moved"], "SLURM starts the same job anew"
    assert cluster.node(second[0]) != node
    orders["moved"].release()
    run.succeeds()
    cluster.revive(node)
    check(workdir, orders)


@pytest.fixture(scope="module")
def started(cluster, tmp_path_factory):  # noqa: ARG001 (it must be there)
    """A whole study that runs beside the tests of lost jobs, and its working directory."""
    workdir = Workdir.create(tmp_path_factory.mktemp("whole"))
    tiny.build_all(workdir.folder / "models")
    settings = yaml.safe_load((workdir.folder / "study.yaml").read_text())
    settings |= {"editors": ROWS, "variants": {}}
    settings["models"]["tiny-llama"]["editors"] = {"ft_l": {"layer": 3, "norm_constraint": 0.05}}
    (workdir.folder / "study.yaml").write_text(yaml.safe_dump(settings))
    run = submitting(workdir, "--cores", 2, "--groups", *GROUPS)
    yield workdir, run
    workdir.abandon()


@pytest.mark.usefixtures("started")
def test_jobs_that_are_lost_in_different_ways_are_submitted_again(cluster, workdir):
    """Cancelled; told to stop; killed; out of memory at the first attempt; out of time."""
    orders, paths = held(workdir, "cancelled", "told", "killed", "greedy", "late")
    orders["greedy"].take(2200)
    run = submitting(workdir, "--", *paths)
    jobs = {row: first(one) for row, one in orders.items()}

    cluster.limit(jobs["late"][0], minutes=1)
    cluster.cancel(jobs["cancelled"][0])
    os.kill(jobs["killed"][1], signal.SIGKILL)
    cluster.cancel(jobs["told"][0], "--signal=USR1")
    eventually(orders["told"].told)
    orders["told"].release()
    ends = {}
    for row, (job, _) in jobs.items():
        ends[row] = end(cluster, job)
        if row != "told":
            orders[row].release()
    run.succeeds()

    assert ends == {
        "cancelled": "CANCELLED",
        "told": "FAILED",
        "killed": "FAILED",
        "greedy": "FAILED",
        "late": "TIMEOUT",
    }
    assert len(orders["told"].edited()) == len(set(orders["told"].edited())), "a batch was not finished"
    assert "exceeded memory limit" in workdir.slurm_log(jobs["greedy"][0])
    check(workdir, orders)


@pytest.mark.usefixtures("started")
def test_snakemake_is_interrupted(cluster, workdir):
    """It cancels its jobs; the next run goes on after their last batch."""
    orders, paths = held(workdir, "interrupted")
    run = submitting(workdir, "--", *paths)
    job, _ = first(orders["interrupted"])

    run.interrupt()
    assert run.ends() != 0
    assert end(cluster, job) == "CANCELLED"
    orders["interrupted"].release()
    submitting(workdir, "--", *paths).succeeds()
    check(workdir, orders)


@pytest.mark.usefixtures("started")
def test_snakemake_is_killed_and_run_again_while_its_old_jobs_run(cluster, workdir):
    """Two jobs have the same output then; the second waits for the first, and repeats nothing."""
    orders, paths = held(workdir, "orphaned")
    run = submitting(workdir, "--", *paths)
    old, _ = first(orders["orphaned"])

    run.kill()
    submitting(workdir, "--unlock").succeeds()
    run = submitting(workdir, "--", *paths)
    _, new = eventually(lambda: len(jobs := cluster.history(workdir)) == 2 and jobs)
    eventually(lambda: "waiting" in workdir.log("edit", "tiny-llama.cnle.orphaned.fold0"))
    orders["orphaned"].release()
    run.succeeds()
    assert (end(cluster, old), end(cluster, new.number)) == ("COMPLETED", "COMPLETED")
    check(workdir, orders)


# A whole study ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(cluster, started):
    """The working directory of the study when it has ended, and the jobs that there were."""
    workdir, run = started
    run.succeeds()
    return workdir, cluster.history(workdir)


def test_everything_is_made(study):
    workdir, _ = study
    results = workdir.folder / "results"
    for name in (
        "report.html",
        "metrics.parquet",
        "timings.parquet",
        "tables/table_4.tex",
        "figures/figure_3.pdf",
    ):
        assert (results / name).stat().st_size > 0, name
    for row in ROWS:
        cases = [case for path in workdir.edits(row) for case in workdir.cases(path)]
        assert len(cases) == len(set(cases)) == 6


def test_language_models_run_on_gpus_and_the_rest_on_cpu_nodes(study):
    _, jobs = study
    places = {(job.partition, job.gpus) for job in jobs if job.rule in ("baseline", "edit")}
    assert places == {("gpu", "gres:gpu:fake:1")}, jobs
    others = {(job.partition, job.gpus) for job in jobs if job.rule not in ("baseline", "edit")}
    assert others == {("cpu", "")}
    rules = [job.rule.split("_")[0] for job in jobs]
    assert {rule: rules.count(rule) for rule in rules} == {
        "baseline": 1,
        "edit": 4,
        "stages": 1,
        "publish": 1,
    }, jobs


def test_logs_of_all_jobs_are_in_one_place(study):
    workdir, jobs = study
    logs = {path.stem for path in (workdir.folder / "results/logs/slurm").rglob("*.log")}
    assert logs == {job.number for job in jobs}


def test_a_local_run_gives_the_same(study, tmp_path):
    workdir, _ = study
    shutil.copytree(workdir.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    local, paths = Workdir(tmp_path), [path for row in ROWS for path in workdir.edits(row)]
    shutil.rmtree(tmp_path / "results/edits")
    shutil.rmtree(tmp_path / "results/journals/edits")
    snakemake(local, "--cores", 2, *paths).succeeds()
    for path in paths:
        assert local.rows(path) == workdir.rows(path), path
