"""Studies trained by Slurm jobs: the undisturbed local run's table, whatever befalls jobs, nodes and driver."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from fault_table import Fault
from program import TINY, surroundings
from slurm_client import Slurm, wait
from study_on_slurm import HALTING, Driver, Study, since

STRANGER = Path(__file__).with_name("stranger.py")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; those of pytest are its own user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="grownn-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.row(33)
def test_the_table_is_the_local_one_and_nobody_else_gets_in(
    slurm: Slurm, fault: Fault, open_folder: Path, undisturbed: str
) -> None:
    study = Study(slurm, open_folder, HALTING.replace("trials: 6", "trials: 12"))
    assert study.text.count("trials: 12") == TINY.count("trials: 12")
    study.profile(at_least=4, at_most=4)  # of which two will never start: there is no room
    study.halt()
    with study.driven() as driver:
        study.when_halfway(2)
        assert sorted(job.state for job in slurm.jobs()) == ["PENDING", "PENDING", "RUNNING", "RUNNING"]
        listening = addresses_of(driver, slurm)
        assert all(ipaddress.ip_address(address.rpartition(":")[0]).is_loopback for address in listening)
        fault.struck(refused_to_a_stranger(study, listening))
        study.go_on()
        driver.ends()
        assert "PENDING" not in [job.state for job in slurm.jobs()]
        study.nothing_left()
    fault.holds(study.arm, study.table(), undisturbed)


def addresses_of(driver: Driver, slurm: Slurm) -> list[str]:
    """All that the driver's and its jobs' processes listen at, the scheduler's address first."""
    parent = psutil.Process(driver.process.pid)
    found: list[str] = []
    for process in (parent, *parent.children(recursive=True), *slurm.processes()):
        with suppress(psutil.NoSuchProcess):
            sockets = process.net_connections("tcp")
            found += [f"{s.laddr.ip}:{s.laddr.port}" for s in sockets if s.status == psutil.CONN_LISTEN]
    assert len(found) >= 1 + 2 * 2, "the scheduler, two workers and their nannies"
    return found


def refused_to_a_stranger(study: Study, addresses: list[str]) -> int:
    """How many tries of another user were refused: all that should be."""
    logs = study.folder / "results/tiny/slurm"
    (keys,) = (path for path in logs.iterdir() if path.is_dir())
    paths = [study.folder, study.arm, study.arm / "study.yaml", logs, keys, next(keys.glob(".dask*"))]
    command = [sys.executable, STRANGER, keys, ",".join(addresses), ",".join(map(str, paths))]
    done = subprocess.run(command, env=surroundings(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    tries: dict[str, str] = json.loads(done.stdout)
    let_in = {what for what, became in tries.items() if became == "got in"}
    expected = {what for what in tries if what.endswith("with the keys")} | {f"read {study.folder}"}
    assert let_in == expected, json.dumps(tries, indent=1)
    print(
        f"\nanother user: {len(tries) - len(let_in)} tries refused at {len(addresses)} sockets and {len(paths)} paths"
    )
    return len(tries) - len(let_in)


@pytest.mark.row(6)
@pytest.mark.slow
def test_a_cancelled_job_is_replaced(study: Study, fault: Fault, first_bracket: str) -> None:
    study.halt()
    with study.driven() as driver:
        before = study.when_halfway(2)
        at = time.monotonic()
        study.slurm.cancel(before[0].job)
        fault.struck()
        wait(lambda: {a.job for a in study.halfway()} - {a.job for a in before}, 30, lambda: driver.said)
        print(f"\nscancel of a worker job in mid-segment: the next one's worker is as far after {since(at)}")
        study.go_on()
        driver.ends()
    fault.holds(study.arm, study.table(), first_bracket)
    study.nothing_left()


@pytest.mark.row(9)
@pytest.mark.slow
def test_a_lost_nodes_segments_go_elsewhere(study: Study, fault: Fault, first_bracket: str) -> None:
    study.halt()
    with study.driven() as driver:
        before = study.when_halfway(2)
        at = time.monotonic()
        study.slurm.down("n2")
        fault.struck()
        wait(lambda: len(study.halfway()) == 1, 20, lambda: f"{study.halfway()}")
        lost = study.slurm.job(next(attempt.job for attempt in before if attempt not in study.halfway()))
        assert lost is None, "requeued: it would meet the job that replaces it"
        wait(lambda: [job.state for job in study.slurm.jobs()].count("PENDING") == 1, 30, lambda: driver.said)
        print(f"\nstate=down in mid-segment: another job is asked for after {since(at)}")
        study.slurm.resume("n2")
        study.when_halfway(2)
        study.go_on()
        said = driver.ends()
    assert said.count("has gone); it is tried again") == 1
    fault.holds(study.arm, study.table(), first_bracket)
    study.nothing_left()


@pytest.mark.row(7)
@pytest.mark.slow
def test_jobs_of_a_minute_are_enough(study: Study, fault: Fault, first_bracket: str) -> None:
    study.profile(walltime="00:01:00")
    study.halt()
    with study.driven() as driver:
        before = {attempt.job for attempt in study.when_halfway(2)}
        wait(lambda: not before & {a.job for a in study.halfway()}, 120, lambda: f"{study.slurm.jobs()}")
        study.when_halfway(2)
        study.go_on()
        said = driver.ends()
    assert said.count("lost (its Slurm job's time was over") >= 2
    fault.struck(said.count("lost (its Slurm job's time was over"))
    fault.holds(study.arm, study.table(), first_bracket)
    study.nothing_left()


@pytest.mark.row(7)
@pytest.mark.slow
def test_what_a_minute_cut_goes_on_from_its_boundary(slurm: Slurm, fault: Fault, tmp_path: Path) -> None:
    """Segments of four legs, held in their third until walltime has cut them."""
    text = HALTING.replace("seed: 3\n", "seed: 3\nboundary_env_steps: 100\n")
    (tmp_path / "local").mkdir()
    local = Study(slurm, tmp_path / "local", text)
    done = local.call("run", "study.yaml", "--workers", 0)
    assert done.returncode == 0, done.stderr
    (tmp_path / "slurm").mkdir()
    study = Study(slurm, tmp_path / "slurm", text)
    study.profile(walltime="00:01:00")
    study.halt()
    with study.driven(HALTING_STEP="450") as driver:
        before = {attempt.job for attempt in study.when_halfway(2)}
        wait(lambda: not before & {a.job for a in study.halfway()}, 120, lambda: f"{study.slurm.jobs()}")
        study.go_on()
        said = driver.ends()
    assert said.count("it is tried again from its boundary at") >= 2
    fault.struck(said.count("it is tried again from its boundary at"))
    fault.holds(study.arm, study.table(), local.table())
    study.nothing_left()


@pytest.mark.row(10)
@pytest.mark.slow
def test_a_queue_that_grants_nothing_is_waited_for_and_told_of(study: Study, fault: Fault, first_bracket: str) -> None:
    for node in ("n1", "n2"):
        study.slurm.drain(node)
    fault.struck()
    with study.driven() as driver:
        driver.says("no worker yet; waiting in Slurm's queue: 2 worker jobs (")
        for node in ("n1", "n2"):
            study.slurm.resume(node)
        said = driver.ends()
    print("", *(line for line in said.splitlines() if "no worker yet" in line), sep="\n")
    fault.holds(study.arm, study.table(), first_bracket)
    study.nothing_left()


@pytest.mark.row(11)
@pytest.mark.slow
def test_a_killed_drivers_jobs_are_ended_by_the_next(study: Study, fault: Fault, first_bracket: str) -> None:
    study.halt()
    with study.driven() as first:
        before = {attempt.job for attempt in study.when_halfway(2)}
        first.kill()
        fault.struck()
    with study.driven(*study.resume()) as second:
        assert {job.id for job in study.slurm.jobs()} == before
        wait(lambda: not before & {job.id for job in study.slurm.jobs()}, 30, lambda: second.said)
        study.when_halfway(2)
        study.go_on()
        second.ends()
    fault.holds(study.arm, study.table(), first_bracket)
    assert committed_attempts(study) == {"a1": 10, "a2": 2}
    study.nothing_left()


def committed_attempts(study: Study) -> Counter[str]:
    """How many first, second, ... attempts have a result."""
    return Counter(path.parent.name for path in study.arm.glob("segments/*/*/*/*/result.json"))


@pytest.mark.row(12, 13)
@pytest.mark.slow
def test_a_frozen_job_that_goes_on_later_is_never_counted_twice(study: Study, fault: Fault, first_bracket: str) -> None:
    """A node is cut off from Slurm, with its job frozen; the driver is killed; its successor computes the segment
    again; then the frozen attempt goes on, and commits its own result of it.
    """
    study.profile(at_most=1)
    study.halt()
    with study.driven() as first, frozen() as freeze:
        (old,) = study.when_halfway(1)
        job = study.slurm.job(old.job)
        assert job is not None
        freeze(study.slurm.daemon(job.node))
        for process in study.slurm.processes():
            freeze(process)
        first.kill()
        with study.driven(*study.resume()) as second:
            wait(lambda: len(study.halfway()) == 2, 60, lambda: second.said)
            ours = study.slurm.job(old.job)
            assert ours is not None, "Slurm cannot end what it doesn't reach"
            study.go_on()
            wait(lambda: committed_attempts(study)["a2"] == 1, 60, lambda: second.said)
            old.process.resume()
            fault.struck()
            wait(lambda: committed_attempts(study)["a1"], 60, "the frozen attempt did not go on")
            said = second.ends()
    assert "WARNING" not in said
    both = [path.parent for path in study.arm.glob("segments/*/*/*/*/result.json") if path.parent.name == "a2"]
    assert [(path.parent / "a1" / "result.json").exists() for path in both] == [True]
    for name in ("checkpoint.safetensors", "checkpoint.json", "curve.csv"):
        assert (both[0] / name).read_bytes() == (both[0].parent / "a1" / name).read_bytes()
    fault.holds(study.arm, study.table(), first_bracket)
    study.nothing_left()


@contextmanager
def frozen() -> Iterator[Callable[[psutil.Process], None]]:
    """SIGSTOP for processes, which are continued at the end."""
    stopped: list[psutil.Process] = []

    def freeze(process: psutil.Process) -> None:
        process.suspend()
        stopped.append(process)

    try:
        yield freeze
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()
