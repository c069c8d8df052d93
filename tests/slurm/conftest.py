"""A Slurm of two nodes for the tests in this folder: one per pytest process, cleared after every test."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest
import two_nodes
from slurm_client import Slurm, started
from study_on_slurm import HALTING, Study

LOG_LINES = 40


def belonging_to(slurm: Slurm) -> list[str]:
    """Processes anywhere on this machine that were started with this cluster's configuration."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environ = process.info["environ"] or {}  # None: ended, or the kernel's
        if environ.get("SLURM_CONF") == str(slurm.conf):
            found.append(f"{process.pid}: {process.info['cmdline']}")
    return found


@pytest.fixture(scope="session")
def cluster() -> Iterator[Slurm]:
    """The cluster. Where none can be had, the tests are skipped, or fail if GROWNN_SLURM=required."""
    if reason := two_nodes.why_not():
        if os.environ.get("GROWNN_SLURM") == "required":
            pytest.fail(f"GROWNN_SLURM=required, but {reason}")
        pytest.skip(f"no Slurm: {reason}")
    start = time.monotonic()
    with started() as slurm:
        print(f"two nodes idle after {time.monotonic() - start:.1f} s")
        yield slurm
    assert belonging_to(slurm) == []
    assert not slurm.conf.parent.exists()


@pytest.fixture
def slurm(cluster: Slurm) -> Iterator[Slurm]:
    """The cluster with both nodes idle; jobs and processes that the test leaves are ended after it."""
    yield cluster
    cluster.clear()


@pytest.fixture
def study(slurm: Slurm, tmp_path: Path) -> Study:
    """One bracket, whose attempts can be held in mid-segment."""
    return Study(slurm, tmp_path, HALTING)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a test fails, what the daemons last wrote stands in its report: their files go with the cluster."""
    report = yield
    if report.failed and isinstance(slurm := item.funcargs.get("slurm"), Slurm):
        for path in sorted(slurm.conf.parent.glob("slurm*.log")):
            lines = path.read_text(errors="replace").splitlines()
            report.sections.append((path.name, "\n".join(lines[-LOG_LINES:])))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured: the lines that passed tests printed, which xdist would swallow."""
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and (printed := report.capstdout.strip()):
            terminalreporter.write_line(printed)
