"""Studies trained by Slurm jobs: the undisturbed local run's table, whatever befalls jobs, nodes and driver."""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from program import TINY, surroundings
from slurm_client import Slurm, wait
from study_on_slurm import HALTING, Driver, Study, since

STRANGER = Path(__file__).with_name("stranger.py")


@pytest.fixture(scope="session")
def first_bracket(undisturbed: str) -> str:
    """Of the undisturbed run's table, the rows of its first bracket: the table of a study that has no other."""
    header, *lines = undisturbed.splitlines(keepends=True)
    rows = csv.DictReader(io.StringIO(undisturbed))
    return header + "".join(line for line, row in zip(lines, rows, strict=True) if row["bracket"] == "1")


@pytest.fixture
def study(slurm: Slurm, tmp_path: Path) -> Study:
    """One bracket, whose attempts can be held in mid-segment."""
    return Study(slurm, tmp_path, HALTING)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; those of pytest are its own user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="grownn-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_the_table_is_the_local_one_and_nobody_else_gets_in(slurm: Slurm, open_folder: Path, undisturbed: str) -> None:
    study = Study(slurm, open_folder, HALTING.replace("trials: 6", "trials: 12"))
    assert study.text.count("trials: 12") == TINY.count("trials: 12")
    study.profile(at_least=4, at_most=4)  # of which two will never start: there is no room
    study.halt()
    with study.driven() as driver:
        study.when_halfway(2)
        assert sorted(job.state for job in slurm.jobs()) == ["PENDING", "PENDING", "RUNNING", "RUNNING"]
        listening = addresses_of(driver, slurm)
        assert all(ipaddress.ip_address(address.rpartition(":")[0]).is_loopback for address in listening)
        refused_to_a_stranger(study, listening)
        study.go_on()
        driver.ends()
        assert "PENDING" not in [job.state for job in slurm.jobs()]
        study.nothing_left()
    assert study.table() == undisturbed


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


def refused_to_a_stranger(study: Study, addresses: list[str]) -> None:
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


def test_a_cancelled_job_is_replaced(study: Study, first_bracket: str) -> None:
    study.halt()
    with study.driven() as driver:
        before = study.when_halfway(2)
        at = time.monotonic()
        study.slurm.cancel(before[0].job)
        wait(lambda: {a.job for a in study.halfway()} - {a.job for a in before}, 30, lambda: driver.said)
        print(f"\nscancel of a worker job in mid-segment: the next one's worker is as far after {since(at)}")
        study.go_on()
        driver.ends()
    assert study.table() == first_bracket
    study.nothing_left()
