"""What the tests of the whole program share: the program itself, and a study small enough to run many times."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# As in every attempt: sums over more threads have other last bits. Set before anything imports torch or numpy.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

Grownn = Callable[..., subprocess.CompletedProcess[str]]

# Two brackets, three rungs with growth, two seeds; the second bracket is chosen by SMAC's model.
TINY = """\
name: tiny
seed: 3
seeds: [0, 1]
task: {env: CartPole-v1, envs: 4}
evaluation: {episodes: 2, rounds: 2}
space:
  hyperparameters:
    - {name: learning_rate, type: uniform_float, lower: 0.0001, upper: 0.01, log: true, default_value: 0.001}
    - {name: n_epochs, type: uniform_int, lower: 1, upper: 4, log: true, default_value: 2}
    - {name: normalize_advantage, type: categorical, choices: [true, false], default_value: true}
ppo: {n_steps: 32, batch_size: 64}
network: {kind: mlp, width: 16}
search: {trials: 12, lookahead: 1, surrogate: lowest, initial_design: 3}
arms:
  grown-3:
    rungs:
      - {env_steps: 512, depth: 1, configurations: 3}
      - {env_steps: 512, depth: 2, configurations: 2}
      - {env_steps: 512, depth: 3, configurations: 1}
"""


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "grownn_hpo", *map(str, args)]


def surroundings(**extra: str) -> dict[str, str]:
    return os.environ | {"PYTHONWARNINGS": "default", "COLUMNS": "160"} | extra


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
