"""Do our agents learn as well as Stable-Baselines3's? Same networks, hyperparameters and env steps, many seeds.

Every run is evaluated with its deterministic policy as it goes, and over 100 episodes at its end, on the same episodes
as every other run of its task. What is compared is the interquartile mean over the seeds' last evaluations, with
bootstrap intervals; the tasks are those that are learned within minutes. Prints a table, and last one JSON object: task
-> both sides' figures and the difference. With --write the table and the curves are written down.

    python -m benchmarks.learning [--seeds N] [--processes N] [--task NAME]... [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from benchmarks import peer
from grownn_hpo import ppo
from grownn_hpo.envs import VectorEnv, describe, play, varying_cells
from grownn_hpo.report.canvas import COLOURS, style
from grownn_hpo.report.statistics import bootstrap_band, bootstrap_interval, difference_interval, interquartile_mean
from grownn_hpo.spec import Network, PPOSettings

RESULTS = Path(__file__).parent / "results"
EVALUATIONS = 10  # of a run; fewer where it has fewer rollouts
EPISODES, LAST_EPISODES = 20, 100
EVALUATORS = 4
EVALUATION_SEED = 2**20  # no training uses it


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned, by both sides, and how. Depth 1 throughout: Stable-Baselines3 cannot grow."""

    name: str
    env: str
    envs: int
    env_steps: int
    settings: PPOSettings
    network: Network = field(default_factory=lambda: Network(kind="mlp"))

    @property
    def cells(self) -> peer.Cells | None:
        """Those of a map that both read."""
        return varying_cells([self.env], {}) if self.network.cells == "varying" else None


@dataclass(frozen=True, slots=True)
class Run:
    """One seed's learning: points of (env steps, mean return, success rate), the last over more episodes."""

    points: tuple[tuple[int, float, float | None], ...]
    cpu_seconds: float


ROOM = Network(kind="minihack-cnn", width=64, channels=8, cells="varying")
ROOM_SETTINGS = PPOSettings(
    learning_rate=3e-3, n_steps=128, batch_size=256, n_epochs=4, gamma=0.97, ent_coef=0.01, anneal_learning_rate=True
)
TASKS = (
    Task(
        *("CartPole-v1", "CartPole-v1", 8, 40_960),
        # Stable-Baselines3's own tuned settings for this task, but for the rollout's length (theirs: 32).
        PPOSettings(
            learning_rate=1e-3,
            n_steps=64,
            batch_size=256,
            n_epochs=20,
            gamma=0.98,
            gae_lambda=0.8,
            anneal_learning_rate=True,
        ),
    ),
    Task(
        *("InvertedPendulum-v4", "InvertedPendulum-v4", 4, 40_960),
        PPOSettings(
            learning_rate=1e-3,
            n_steps=256,
            normalize_observations=True,
            normalize_rewards=True,
            anneal_learning_rate=True,
        ),
    ),
    # Those of the bundled studies of rooms (search_spaces/ppo-rooms.yaml).
    Task("Room-5x5", "MiniHack-Room-5x5-v0", 16, 32_768, ROOM_SETTINGS, ROOM),
    Task("Room-Random-5x5", "MiniHack-Room-Random-5x5-v0", 16, 65_536, ROOM_SETTINGS, ROOM),
)
SIDES: tuple[Literal["ours", "theirs"], ...] = ("ours", "theirs")


def evaluated(task: Task, act: Callable[[Any], Any], number: int) -> tuple[float, float | None]:
    """Mean return and success rate of the `number`-th evaluation, whose episodes are the same for every run."""
    episodes = LAST_EPISODES if number == len(evaluation_points(task)) else EPISODES
    with VectorEnv(task.env, {}, EVALUATORS, EVALUATION_SEED) as environments:
        played = play(act, environments, episodes, number)
    return played.mean_return, played.success_rate


def evaluation_points(task: Task) -> list[int]:
    """The env steps, whole rollouts all, at which both sides are evaluated."""
    rollout = task.envs * task.settings.n_steps
    rollouts = task.env_steps // rollout
    evaluations = min(EVALUATIONS, rollouts)
    return [round(rollouts * k / evaluations) * rollout for k in range(1, evaluations + 1)]


def learn_ours(task: Task, seed: int) -> Iterator[tuple[int, float, float | None]]:
    spaces = describe(task.env, {})
    agent = ppo.new_agent(task.network, 1, spaces, task.settings, task.cells, 10_000 + seed, "cpu")
    points: list[tuple[int, float, float | None]] = []

    def evaluate(trained: ppo.Agent, env_steps: int) -> None:
        points.append((env_steps, *evaluated(task, ppo.policy(trained, EVALUATORS), len(points) + 1)))

    with VectorEnv(task.env, {}, task.envs, seed) as environments:
        ppo.train(
            agent,
            environments,
            task.settings,
            env_steps=task.env_steps,
            total_env_steps=task.env_steps,
            action_seed=20_000 + seed,
            minibatch_seed=30_000 + seed,
            evaluate_at=evaluation_points(task),
            on_evaluation=evaluate,
        )
    yield from points


def learn_theirs(task: Task, seed: int) -> Iterator[tuple[int, float, float | None]]:
    from stable_baselines3.common.callbacks import BaseCallback

    model = peer.build_peer(
        *(task.env, {}, task.envs, task.settings, task.network, 1, seed),
        cells=task.cells,
        total_env_steps=task.env_steps,
    )
    due = evaluation_points(task)
    points: list[tuple[int, float, float | None]] = []

    def evaluate() -> None:
        if due[len(points) :][:1] == [model.num_timesteps]:
            seen = (model.num_timesteps, *evaluated(task, lambda seen: peer.act(model, seen), len(points) + 1))
            points.append(seen)

    class AfterUpdates(BaseCallback):
        """Evaluates before each rollout begins: after the update that followed the one before."""

        def _on_rollout_start(self) -> None:
            evaluate()

        def _on_step(self) -> bool:
            return True

    model.learn(task.env_steps, callback=AfterUpdates())
    evaluate()
    yield from points


def run(task: Task, side: str, seed: int) -> Run:
    torch.set_num_threads(1)
    began = time.process_time()
    points = tuple((learn_ours if side == "ours" else learn_theirs)(task, seed))
    assert [env_steps for env_steps, *_ in points] == evaluation_points(task)
    return Run(points, time.process_time() - began)


def figure(results: dict[str, dict[str, list[Run]]]) -> Figure:
    """Each task's return over env steps: the interquartile mean over seeds, and its 95% interval."""
    with style():
        drawing = Figure(figsize=(10.5, 2.9), layout="constrained")
        for axis, (name, sides) in zip(
            drawing.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
        ):
            for (side, label), colour in zip(
                (("ours", "GrowNN HPO"), ("theirs", "Stable-Baselines3")), COLOURS, strict=False
            ):
                runs = sides[side]
                steps = [env_steps for env_steps, *_ in runs[0].points]
                band = bootstrap_band(np.array([[point[1] for point in one.points] for one in runs]).T)
                axis.plot(steps, band.value, color=colour, linestyle="-" if side == "ours" else "--", label=label)
                if band.low is not None and band.high is not None:
                    axis.fill_between(steps, band.low, band.high, color=colour, alpha=0.2, linewidth=0)
            axis.set_title(name)
            axis.set_xlabel("env steps")
            axis.set_xlim(0)
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        first = drawing.axes[0]
        first.set_ylabel("return")
        first.legend(loc="lower right")
    return drawing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=10, help="of either side (10)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--task", action="append", choices=[task.name for task in TASKS])
    parser.add_argument("--write", action="store_true", help="write learning.md and learning.png to benchmarks/results")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds {arguments.seeds}: must be at least 2, for one seed has no interval")
    tasks = [task for task in TASKS if not arguments.task or task.name in arguments.task]

    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        futures = {
            task.name: {side: [pool.submit(run, task, side, seed) for seed in range(arguments.seeds)] for side in SIDES}
            for task in tasks
        }
        results = {
            name: {side: [future.result() for future in runs] for side, runs in sides.items()}
            for name, sides in futures.items()
        }

    compared = {task.name: comparison(results[task.name]) for task in tasks}
    table = written(tasks, compared)
    print(table)
    if arguments.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "learning.md").write_text(table)
        with style():
            figure(results).savefig(RESULTS / "learning.png", dpi=150)
    print(json.dumps(compared))


def comparison(sides: dict[str, list[Run]]) -> dict[str, Any]:
    """Both sides' last evaluations: seeds, interquartile means with intervals, success rates, CPU seconds a run."""
    found: dict[str, Any] = {"seeds": len(sides["ours"])}
    for side, runs in sides.items():
        returns = [one.points[-1][1] for one in runs]
        successes = [one.points[-1][2] for one in runs]
        estimate = bootstrap_interval(returns)
        found[side] = {
            "iqm": estimate.value,
            "interval": [estimate.low, estimate.high],
            "success": None if None in successes else float(np.mean([rate for rate in successes if rate is not None])),
            "cpu_seconds": float(np.median([one.cpu_seconds for one in runs])),
        }
    ours, theirs = ([one.points[-1][1] for one in sides[side]] for side in SIDES)
    gap = difference_interval(ours, theirs, interquartile_mean)
    found["difference"] = {"value": gap.value, "low": gap.low, "high": gap.high}
    return found


def written(tasks: list[Task], compared: dict[str, Any]) -> str:
    """The table that the README quotes, as Markdown."""
    rows = [
        "| task | env steps | seeds | ours | Stable-Baselines3 | ours - theirs | CPU s a run: ours, theirs |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for task in tasks:
        found = compared[task.name]
        shown = []
        for side in SIDES:
            one = found[side]
            low, high = one["interval"]
            success = "" if one["success"] is None else f"; {one['success']:.1%} success"
            shown.append(f"{one['iqm']:.4g} [{low:.4g}, {high:.4g}]{success}")
        away = found["difference"]
        rows.append(
            f"| {task.name} | {task.env_steps:,} | {found['seeds']} | {shown[0]} | {shown[1]} |"
            f" {away['value']:+.3g} [{away['low']:+.3g}, {away['high']:+.3g}] |"
            f" {found['ours']['cpu_seconds']:.0f}, {found['theirs']['cpu_seconds']:.0f} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
