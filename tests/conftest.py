"""What the tests of the whole program share."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from pathlib import Path

import fault_table
import pytest
from fault_table import fault
from hypothesis import settings
from program import TINY, Grownn, command, surroundings
from shared import made_once, run_tiny

__all__ = ["fault"]  # a fixture for every test below

# As in every attempt: sums over more threads have other last bits. Set before anything imports torch or numpy.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

# A busy machine is no defect: what may take no longer than it should is held to pytest's own limit.
settings.register_profile("grownn", deadline=None)
settings.load_profile("grownn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="end with a line per row of the fault table, and one JSON")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--faults"):
        config.pluginmanager.register(fault_table)


@pytest.fixture
def grownn(tmp_path: Path) -> Grownn:
    """Runs `grownn` with these arguments in the test's folder."""

    def run(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*args),
            cwd=tmp_path,
            env=surroundings(**env),
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The tiny study's file, in the test's folder."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study was run, without interruption and without Dask; not to be changed."""
    return made_once(tmp_path_factory, "complete", run_tiny)


@pytest.fixture(scope="session")
def four_trials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder, with four trials of the study's first bracket."""
    return made_once(tmp_path_factory, "four-trials", lambda folder: run_tiny(folder, "--set", "search.trials=4"))


@pytest.fixture
def finished(complete: Path, tiny: Path) -> Path:
    """The complete tiny study's results, copied to where `grownn run` of `tiny` would have put them."""
    return Path(shutil.copytree(complete / "results/tiny", tiny.parent / "results/tiny"))


@pytest.fixture
def begun(four_trials: Path, tiny: Path) -> Path:
    """Likewise, those of its first four trials."""
    return Path(shutil.copytree(four_trials / "results/tiny", tiny.parent / "results/tiny"))


@pytest.fixture(scope="session")
def undisturbed(complete: Path) -> str:
    """The tiny study's ledger from one uninterrupted run, without Dask."""
    return (complete / "table.csv").read_text()


@pytest.fixture(scope="session")
def first_bracket(undisturbed: str) -> str:
    """Of the undisturbed run's table, the rows of its first bracket: the table of a study that has no other."""
    header, *lines = undisturbed.splitlines(keepends=True)
    rows = csv.DictReader(io.StringIO(undisturbed))
    return header + "".join(line for line, row in zip(lines, rows, strict=True) if row["bracket"] == "1")
