"""The two nodes themselves do to jobs what a site's Slurm does; `make slurm` prints after how long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import two_nodes
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

    def when_only_the_orphan_was_left(self, seconds: float) -> float:
        wait(lambda: self.alive() == {"orphan"}, seconds, lambda: f"alive: {self.alive()}")
        return time.time()

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
    spreading.when_only_the_orphan_was_left(5)
    wait(lambda: slurm.state(spreading.job) is None, 10, lambda: str(slurm.jobs()))
    # An orphan in a session of its own gets nothing, and outlives the job until someone ends it.
    assert "orphan" not in spreading.events("SIGTERM")
    assert [process.pid for process in slurm.processes()] == [spreading.events("start")["orphan"].pid]
    print(f"\nscancel: SIGTERM to the whole descent after {terminated - cancelled:.2f} s")


def test_a_lost_nodes_job_runs_again(slurm: Slurm, tmp_path: Path) -> None:
    spreading = Spreading(slurm, tmp_path / "events", "--nodelist=n2")
    spreading.when_started()
    lost = time.time()
    slurm.down("n2")
    terminated = spreading.when_terminated(10)
    spreading.when_only_the_orphan_was_left(5)
    assert slurm.nodes() == {"n1": "idle", "n2": "down"}
    assert slurm.state(spreading.job) == "PENDING"
    slurm.resume("n2")
    wait(lambda: slurm.nodes()["n2"] == "idle", 10, lambda: str(slurm.nodes()))
    wait(lambda: slurm.state(spreading.job) == "RUNNING", 40, lambda: str(slurm.jobs()))
    print(
        f"\nstate=down: SIGTERM to the whole descent after {terminated - lost:.2f} s;"
        f" its job runs again {time.time() - lost:.1f} s after the loss"
    )


@pytest.mark.slow
def test_a_requeued_job_runs_again(slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = slurm.submit('echo "${SLURM_RESTART_COUNT:-0}"; sleep 60', f"--output={out}", "--open-mode=append")
    wait(lambda: slurm.state(job) == "RUNNING", 20, lambda: str(slurm.jobs()))
    slurm.call("scontrol", "requeue", job)
    wait(lambda: slurm.state(job) == "PENDING", 10, lambda: str(slurm.jobs()))
    seconds = wait(lambda: slurm.state(job) == "RUNNING", 40, lambda: str(slurm.jobs()))
    wait(lambda: out.read_text().splitlines()[-1] == "1", 5, out.read_text)
    print(f"\nscontrol requeue: runs again after {seconds:.1f} s")


@pytest.mark.slow
def test_a_draining_node_keeps_its_job_and_takes_no_other(slurm: Slurm) -> None:
    job = slurm.submit("sleep 60", "--nodelist=n1")
    wait(lambda: slurm.state(job) == "RUNNING", 20, lambda: str(slurm.jobs()))
    slurm.drain("n1")
    assert slurm.nodes() == {"n1": "draining", "n2": "idle"}
    others = [slurm.submit("sleep 60"), slurm.submit("sleep 60")]
    wait(lambda: slurm.state(others[0]) == "RUNNING", 20, lambda: str(slurm.jobs()))
    assert {j.id: j.node for j in slurm.jobs()} == {job: "n1", others[0]: "n2", others[1]: ""}
    slurm.resume("n1")
    wait(lambda: slurm.nodes()["n1"] == "mixed", 10, lambda: str(slurm.nodes()))


@pytest.mark.slow
def test_walltime_ends_a_job_and_what_ignores_that_half_a_minute_later(slurm: Slurm, tmp_path: Path) -> None:
    """The controller looks for expired walltimes every 30 s, so the two begin at other moments between looks."""
    deaf = Spreading(slurm, tmp_path / "deaf", "--time=1", deaf=True)
    begun = [deaf.when_started()]
    time.sleep(13)
    mortal = Spreading(slurm, tmp_path / "mortal", "--time=1")
    begun.append(mortal.when_started())
    terminated = [deaf.when_terminated(100), mortal.when_terminated(100)]
    after = [end - begin for begin, end in zip(begun, terminated, strict=True)]
    killed = deaf.when_only_the_orphan_was_left(60) - terminated[0]
    mortal.when_only_the_orphan_was_left(5)
    wait(lambda: slurm.jobs() == [], 10, lambda: str(slurm.jobs()))
    assert 59 < min(after) <= max(after) < 95
    assert 25 < killed < 40
    print(f"\nwalltime of a minute: SIGTERM after {after[0]:.1f} and {after[1]:.1f} s, SIGKILL {killed:.1f} s later")


ALONE = """
import sys
from slurm_client import started
with started() as slurm:
    slurm.submit(f"exec {sys.executable} {sys.argv[1]} {sys.argv[2]} deaf")
    print(slurm.keeper.pid, slurm.conf.parent, flush=True)
    sys.stdin.read()
"""


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; a zombie has, only its new parent does not know yet."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_two_clusters_stand_side_by_side_and_neither_outlives_its_starter(slurm: Slurm, tmp_path: Path) -> None:
    events = tmp_path / "events"
    command = (sys.executable, "-c", ALONE, SPREADING, events)
    path = os.pathsep.join([str(SPREADING.parent), *filter(None, sys.path)])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as starter:
        assert starter.stdout is not None
        pid, folder = starter.stdout.readline().split()
        wait(lambda: events.exists() and events.read_text().count("start") == len(ALL), 20, "the job has not started")
        assert slurm.jobs() == []
        keeper = psutil.Process(int(pid))
        everything = [keeper, *keeper.children(recursive=True)]
        assert len(everything) >= 1 + 4 + len(ALL)  # the keeper, the daemons and the job
        starter.send_signal(signal.SIGKILL)
    seconds = wait(lambda: not (living(everything) or Path(folder).exists()), 10, lambda: f"{living(everything)}")
    assert set(slurm.nodes().values()) == {"idle"}
    print(f"\nSIGKILL of what started a cluster: all {len(everything)} processes have ended after {seconds:.1f} s")


@pytest.mark.usefixtures("cluster")
def test_a_daemon_that_ends_ends_its_cluster_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "slurmctld"
    broken.write_text("#!/bin/sh\necho no such luck\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RuntimeError, match=r"(?s)'slurmctld'.* has ended.*no such luck"), started():
        pass


@pytest.mark.parametrize(("required", "ending"), [("", "1 skipped"), ("required", "1 error")])
def test_without_slurm_the_tests_are_skipped_or_fail_and_say_why(
    required: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GROWNN_SLURM", required)
    test = f"{__file__}::test_a_job_runs_on_each_node_and_a_third_waits"
    done = subprocess.run(
        (sys.executable, "-m", "pytest", test, "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=SPREADING.parents[2],
    )
    assert ending in done.stdout
    assert str(two_nodes.why_not()) in done.stdout
    assert (done.returncode == 0) == (required == "")
