"""Studies small enough to be really trained within a test, in this very process."""

from __future__ import annotations

from pathlib import Path

from grownn_hpo.environment import environment
from grownn_hpo.segment import Verdict, run_segment
from grownn_hpo.spec import Arm
from grownn_hpo.spec.study import load_study
from grownn_hpo.store.arm import Bracket, Configuration, create_arm, write_bracket
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import arm_sha256
from grownn_hpo.trial import Segment

ROOMS = (
    *("task.envs=4", "evaluation.episodes=4", "evaluation.rounds=2", "ppo.n_steps=32", "ppo.batch_size=64"),
    *("search.trials=3", "arms.*.rungs.*.env_steps=384", "arms.*.rungs.*.configurations=1"),
)
ROOMS_CONFIGURATION: Configuration = {"ent_coef": 0.01, "learning_rate": 0.003, "n_epochs": 3}

PENDULUM = """\
name: pendulum
seed: 5
seeds: [0, 1]
task: {env: InvertedPendulum-v4, envs: 3}
evaluation: {episodes: 4, rounds: 1}
space: {hyperparameters: [{name: learning_rate, type: uniform_float, lower: 0.0001, upper: 0.01}]}
ppo: {n_steps: 64, batch_size: 32, normalize_observations: true, normalize_rewards: true}
network: {kind: mlp, width: 16}
search: {trials: 1}
arms:
  static-1:
    rungs: [{env_steps: 576, depth: 1, configurations: 1}]
"""


def rooms_arm() -> Arm:
    """The bundled demo's arm, with less of everything."""
    return load_study("demo", ROOMS).arms[0]


def pendulum_arm(folder: Path) -> Arm:
    path = folder / "pendulum.yaml"
    path.write_text(PENDULUM)
    return load_study(str(path)).arms[0]


def trained(results: Path, arm: Arm, configuration: Configuration, rungs: int) -> ArmFolder:
    """The arm's folder below `results`, with one bracket of one configuration, trained with all seeds."""
    folder = ArmFolder(results / arm.study / arm.name)
    create_arm(folder, arm, environment())
    write_bracket(folder, Bracket(1, (configuration,), "0" * 64, arm_sha256(arm)))
    for seed in arm.seeds:
        for rung in range(1, rungs + 1):
            verdict = run_segment(arm, configuration, Segment(1, rung, seed), folder, lambda: None)
            assert verdict is Verdict.COMMITTED
    return folder
