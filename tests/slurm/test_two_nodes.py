"""The two nodes themselves: that they do to jobs what a site's Slurm does, and when. `make slurm` prints the figures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from slurm_client import Slurm, started, wait

SPREADING = Path(__file__).with_name("spreading.py")
ALL = {"root", "child", "session", "orphan"}
DESCENT = ALL - {"orphan"}
"""What Slurm takes for the job without cgroups: an orphan is no descendant of it any more."""


@dataclass(frozen=True)
class Event:
    process: str
    pid: int
    event: str
    at: float


class Spreading:
    """A job of four processes, as `spreading.py` has them, and what befell them."""

    def __init__(self, slurm: Slurm, file: Path, *options: str, deaf: bool = False) -> None:
        self.file = file
        mode = "deaf" if deaf else "mortal"
        self.job = slurm.submit(f"exec {sys.executable} {SPREADING} {file} {mode}", *options)

    def events(self, event: str) -> dict[str, Event]:
        """Of every process, the last such event."""
        words = [line.split() for line in (self.file.read_text() if self.file.exists() else "").splitlines()]
        return {w[0]: Event(w[0], int(w[1]), w[2], float(w[3])) for w in words if w[2] == event}

    def when_started(self) -> float:
        """Waits until all four have started; the time at which the first did."""
        wait(lambda: self.events("start").keys() == ALL, 20, lambda: f"started: {self.events('start')}")
        return self.events("start")["root"].at

    def when_terminated(self, seconds: float) -> float:
        """Waits until those of its descent have got SIGTERM; the time at which the last did."""
        wait(lambda: self.events("SIGTERM").keys() >= DESCENT, seconds, lambda: f"SIGTERM: {self.events('SIGTERM')}")
        return max(event.at for event in self.events("SIGTERM").values())

    def alive(self) -> set[str]:
        """The names of those that are left."""
        return {name for name, event in self.events("start").items() if psutil.pid_exists(event.pid)}


def test_a_job_runs_on_each_node_and_a_third_waits(slurm: Slurm) -> None:
    first, second = slurm.submit("sleep 60", "--job-name=first"), slurm.submit("sleep 60")
    seconds = wait(lambda: [job.state for job in slurm.jobs()] == ["RUNNING"] * 2, 20, lambda: str(slurm.jobs()))
    assert {job.node for job in slurm.jobs()} == {"n1", "n2"}
    assert [job.name for job in slurm.jobs() if job.id == first] == ["first"]
    third = slurm.submit("sleep 60")
    wait(lambda: "Resources" in slurm.call("squeue", "--noheader", "--format=%r", "--jobs", third), 10, "not waiting")
    assert slurm.state(third) == "PENDING"
    slurm.cancel(second)
    wait(lambda: slurm.state(third) == "RUNNING", 10, lambda: str(slurm.jobs()))
    print(f"\ntwo jobs run {seconds:.1f} s after their submission")


def test_one_job_has_two_cpus_and_two_gpus_of_a_node(slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    show = 'echo "$SLURM_JOB_PARTITION cpus=$SLURM_CPUS_ON_NODE gpus=$CUDA_VISIBLE_DEVICES"'
    slurm.submit(show, "--partition=gpu", "--cpus-per-task=2", "--gres=gpu:2", f"--output={out}")
    wait(lambda: out.exists() and out.read_text(), 20, lambda: str(slurm.jobs()))
    assert out.read_text() == "gpu cpus=2 gpus=0,1\n"
    with pytest.raises(RuntimeError, match="Requested node configuration is not available"):
        slurm.submit("true", "--cpus-per-task=2")


def test_a_cancelled_jobs_descent_gets_sigterm_at_once(slurm: Slurm, tmp_path: Path) -> None:
    spreading = Spreading(slurm, tmp_path / "events")
    spreading.when_started()
    cancelled = time.time()
    slurm.cancel(spreading.job)
    terminated = spreading.when_terminated(10)
    wait(lambda: spreading.alive() == {"orphan"}, 5, lambda: f"alive: {spreading.alive()}")
    wait(lambda: slurm.state(spreading.job) is None, 10, lambda: str(slurm.jobs()))
    # An orphan in a session of its own gets nothing, and outlives the job until someone ends it.
    assert "orphan" not in spreading.events("SIGTERM")
    assert [process.pid for process in slurm.processes()] == [spreading.events("start")["orphan"].pid]
    print(f"\nscancel: SIGTERM to the whole descent after {terminated - cancelled:.2f} s")


def test_a_requeued_job_starts_again(slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = slurm.submit('echo "${SLURM_RESTART_COUNT:-0}"; sleep 60', f"--output={out}", "--open-mode=append")
    wait(lambda: slurm.state(job) == "RUNNING", 20, lambda: str(slurm.jobs()))
    slurm.call("scontrol", "requeue", job)
    wait(lambda: slurm.state(job) == "PENDING", 10, lambda: str(slurm.jobs()))
    seconds = wait(lambda: slurm.state(job) == "RUNNING", 40, lambda: str(slurm.jobs()))
    wait(lambda: out.read_text().splitlines()[-1] == "1", 5, out.read_text)
    print(f"\nrequeue: runs again after {seconds:.1f} s")


def test_a_lost_nodes_job_waits_for_it(slurm: Slurm, tmp_path: Path) -> None:
    spreading = Spreading(slurm, tmp_path / "events", "--nodelist=n2")
    spreading.when_started()
    lost = time.time()
    slurm.down("n2")
    terminated = spreading.when_terminated(10)
    wait(lambda: spreading.alive() == {"orphan"}, 5, lambda: f"alive: {spreading.alive()}")
    assert slurm.nodes() == {"n1": "idle", "n2": "down"}
    assert slurm.state(spreading.job) == "PENDING"
    slurm.resume("n2")
    wait(lambda: slurm.nodes()["n2"] == "idle", 10, lambda: str(slurm.nodes()))
    print(f"\nstate=down: SIGTERM to the whole descent after {terminated - lost:.2f} s, job requeued")


def test_a_draining_node_keeps_its_job_and_takes_no_other(slurm: Slurm) -> None:
    job = slurm.submit("sleep 60", "--nodelist=n1")
    wait(lambda: slurm.state(job) == "RUNNING", 20, lambda: str(slurm.jobs()))
    slurm.drain("n1")
    assert slurm.nodes()["n1"] == "draining"
    other = slurm.submit("sleep 60")
    wait(lambda: slurm.state(other) == "RUNNING", 20, lambda: str(slurm.jobs()))
    assert {job.node for job in slurm.jobs()} == {"n1", "n2"}
    assert slurm.job(other) in [j for j in slurm.jobs() if j.node == "n2"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_minute_of_walltime_is_a_minute_or_half_a_minute_more(slurm: Slurm, tmp_path: Path) -> None:
    """The controller looks at walltimes every 30 s. What ignores SIGTERM is killed KillWait (30 s) later."""
    figures = []
    for turn, pause in enumerate((7, 19)):
        jobs = [Spreading(slurm, tmp_path / f"{turn}-{deaf}", "--time=1", deaf=deaf) for deaf in (False, True)]
        begun = [job.when_started() for job in jobs]
        ended = [job.when_terminated(100) for job in jobs]
        figures += [end - begin for begin, end in zip(begun, ended, strict=True)]
        assert jobs[1].alive() == ALL
        seconds = wait(lambda deaf=jobs[1]: deaf.alive() == {"orphan"}, 40, lambda: f"alive: {jobs[1].alive()}")
        wait(lambda: slurm.jobs() == [], 10, lambda: str(slurm.jobs()))
        assert [job.alive() for job in jobs] == [{"orphan"}] * 2
        print(f"\nwalltime: SIGTERM after {figures[-1]:.1f} s, SIGKILL to what ignores it {seconds:.1f} s later")
        slurm.clear()
        time.sleep(pause)  # so that the turns fall on other moments between two looks
    assert 59 < min(figures) <= max(figures) < 95


ALONE = """
import sys, time
from pathlib import Path
from slurm_client import started
with started() as slurm:
    slurm.submit(f"{sys.executable} {sys.argv[1]} {sys.argv[2]} deaf")
    while not Path(sys.argv[2]).exists() or Path(sys.argv[2]).read_text().count("start") < 4:
        time.sleep(0.05)
    print(slurm.keeper.pid, slurm.conf, flush=True)
    time.sleep(100)
"""


def test_nothing_of_a_cluster_outlives_a_killed_pytest(tmp_path: Path) -> None:
    ...
