"""How much of two workers' time is training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slurm_client import Slurm
from study_on_slurm import Study

# One rung, all of whose segments may run from the start, so that a worker never waits for another's.
STUDY = """\
name: tiny
seed: 3
seeds: [0, 1]
task: {env: CartPole-v1, envs: 4}
evaluation: {episodes: 2, rounds: 2}
space:
  hyperparameters:
    - {name: learning_rate, type: uniform_float, lower: 0.0001, upper: 0.01, log: true, default_value: 0.001}
ppo: {n_steps: 128, batch_size: 256, n_epochs: 10}
network: {kind: mlp, width: 64}
search: {trials: 6, lookahead: 1, surrogate: lowest, initial_design: 6}
arms:
  grown-3:
    rungs:
      - {env_steps: ENV_STEPS, depth: 1, configurations: 6}
"""
ENV_STEPS = 36_000
"""About ten seconds of a core."""


@pytest.mark.slow
def test_workers_train_nearly_all_the_time(slurm: Slurm, tmp_path: Path) -> None:
    study = Study(slurm, tmp_path, STUDY.replace("ENV_STEPS", str(ENV_STEPS)))
    with study.driven() as driver:
        driver.ends()
    spans, at_work = [], []
    for path in study.arm.glob("segments/*/*/*/*/result.json"):
        measured = json.loads(path.read_text())["measured"]
        end = path.stat().st_mtime
        spans.append((end - measured["seconds"], end))
        at_work.append(measured["training_seconds"] + measured["evaluation_seconds"])
    begins, ends = sorted(begin for begin, _ in spans), sorted(end for _, end in spans)
    # Each worker from its first attempt's begin to its last one's end, whichever of the two it is.
    theirs = sum(ends[-2:]) - sum(begins[:2])
    assert len(spans) == 12
    assert begins[1] < ends[0], "the two have worked side by side"
    share = sum(at_work) / theirs
    print(
        f"\n{len(spans)} segments of {sum(at_work) / len(spans):.1f} s on two workers: {share:.1%} of their"
        f" {theirs:.0f} s, from first begin to last end of each, were training and evaluation"
    )
    assert share > 0.8
