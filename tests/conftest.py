"""What the tests of the whole program share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings
from program import TINY, Grownn, command, surroundings

# As in every attempt: sums over more threads have other last bits. Set before anything imports torch or numpy.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

# A busy machine is no defect: what may take no longer than it should is held to pytest's own limit.
settings.register_profile("grownn", deadline=None)
settings.load_profile("grownn")


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
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny study's ledger from one uninterrupted run, without Dask."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(TINY)
    for args in (("run", "tiny.yaml", "--workers", 0), ("table", "results/tiny")):
        done = subprocess.run(
            command(*args), cwd=folder, env=surroundings(), capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
    return done.stdout
