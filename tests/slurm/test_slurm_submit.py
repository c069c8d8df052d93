"""The driver as a Slurm job: through its walltime, a cancellation, and its death, to the undisturbed run's table."""

from __future__ import annotations

import time

import psutil
import pytest
from fault_table import Fault
from slurm_client import wait
from study_on_slurm import SECONDS, Study, since

pytestmark = pytest.mark.slow


class Submitted:
    """The study, submitted with a driver's job of that walltime, on a partition where it takes no worker's place."""

    def __init__(self, study: Study, walltime: str, at_least: int = 1) -> None:
        self.slurm = study.slurm
        driver = f'driver: {{partition: gpu, walltime: "{walltime}", memory_gib: 0.9}}'
        study.profile(driver, at_least=at_least, at_most=max(2, at_least))
        study.halt()
        done = study.call("submit", "study.yaml", "--cluster", "site.yaml")
        assert done.returncode == 0, done.stderr
        self.job = int(done.stdout)
        self.log = study.folder / f"results/tiny/slurm/driver-{self.job}.log"

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def starts(self, number: int) -> None:
        """Waits until the job has started for the so-manieth time."""
        wait(lambda: f": start {number} of job {self.job}, on " in self.said, SECONDS, lambda: self.said)

    def ends(self) -> str:
        """Waits for the job's end; all that it said."""
        wait(lambda: self.slurm.state(self.job) is None, 2 * SECONDS, lambda: self.said)
        return self.said

    def exit_code(self) -> str:
        """What Slurm says the job ended with, as long as it remembers: `0:0`, code and signal."""
        words = self.slurm.call("scontrol", "show", "job", self.job).split()
        return next(word.removeprefix("ExitCode=") for word in words if word.startswith("ExitCode="))

    def driver(self) -> psutil.Process:
        """The driver's process within the job."""
        here = self.slurm.processes()
        return next(p for p in here if p.cmdline()[1:5] == ["-P", "-m", "grownn_hpo", "run"])


def test_a_walltime_shorter_than_the_study(study: Study, first_bracket: str) -> None:
    submitted = Submitted(study, "00:01:00")
    study.when_halfway(2)
    submitted.starts(2)
    study.go_on()
    said = submitted.ends()
    print(f"\na driver's job of a minute: complete in {said.count(': start ')} starts")
    assert "the driver ended with exit code 3, asked to stop: walltime" in said
    assert "the driver ended with exit code 0" in said.splitlines()[-1]  # perhaps just as its time was up
    assert submitted.exit_code() == "0:0"
    assert "Traceback" not in said
    assert study.table() == first_bracket
    study.nothing_left()


def test_scancel_stops_it_cleanly(study: Study, first_bracket: str) -> None:
    submitted = Submitted(study, "00:10:00", at_least=4)
    study.when_halfway(2)
    assert [job.state for job in study.slurm.jobs()].count("PENDING") == 2
    at = time.monotonic()
    study.slurm.cancel(submitted.job)
    wait(lambda: not study.slurm.jobs(), 30, lambda: f"{study.slurm.jobs()}\n{submitted.said}")
    print(f"\nscancel of the driver's job: no job is left after {since(at)}")
    assert "stopped with 2 segments under way" in submitted.said
    assert submitted.said.splitlines()[-1].endswith("the driver ended with exit code 3, asked to stop: cancel")
    study.nothing_left()
    study.go_on()
    with study.driven(*study.resume()) as driver:
        driver.ends()
    assert study.table() == first_bracket
    study.nothing_left()


@pytest.mark.row(8)
def test_a_dead_drivers_job_is_requeued(study: Study, fault: Fault, first_bracket: str) -> None:
    """As when its node fails: the driver dies without a word, and Slurm runs its job again."""
    submitted = Submitted(study, "00:10:00")
    before = {attempt.job for attempt in study.when_halfway(2)}
    driver = submitted.driver()
    driver.suspend()  # not to hear what Slurm says before the job is requeued
    study.slurm.call("scontrol", "requeue", submitted.job)
    driver.kill()
    fault.struck()
    submitted.starts(2)
    wait(lambda: {a.job for a in study.halfway()} - before, SECONDS, lambda: submitted.said)
    assert not before & {job.id for job in study.slurm.jobs()}, "the first start's jobs were cancelled"
    study.go_on()
    said = submitted.ends()
    assert "the driver ended with exit code 0" in said.splitlines()[-1]  # perhaps just as its time was up
    fault.holds(study.arm, study.table(), first_bracket)
    study.nothing_left()
