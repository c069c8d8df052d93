"""The program as the tests run it, from outside, and a study small enough to run many times."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

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
