"""One minibatch of PPO's update, by autograd and in the fastest way there is, in ms; and the matrix products alone.

Interleaved pairs on one pinned core with one torch thread, synthetic transitions of the real tasks' shapes. A time is
that of an update of three epochs less that of one of a single epoch, so that an update's preparations, which real
rollouts spread over hundreds of minibatches, do not count; they are printed beside. Under two minutes.

Prints a line per case (medians) and, last, one JSON object.

    python -m benchmarks.update_step [CASE or part of a name ...]
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass

import torch

from benchmarks.products import multiply, update_products
from grownn_hpo.ppo.agent import Agent, new_agent
from grownn_hpo.ppo.update import by_autograd, fastest
from grownn_hpo.spec import Characters, Continuous, Discrete, Network, PPOSettings, Spaces, Vector

PAIRS = 5
MINIBATCHES = 4  # an epoch
ROWS, COLUMNS, ROOM = 21, 79, 10


@dataclass(frozen=True)
class Case:
    task: str
    batch: int
    depth: int

    @property
    def name(self) -> str:
        return f"{self.task}-b{self.batch}-d{self.depth}"

    @property
    def spaces(self) -> Spaces:
        match self.task:
            case "ant":
                return Spaces(Vector(27), Continuous((-1.0,) * 8, (1.0,) * 8))
            case "cartpole":
                return Spaces(Vector(4), Discrete(2))
        return Spaces(Characters(ROWS, COLUMNS), Discrete(8))

    @property
    def network(self) -> Network:
        return Network(kind="minihack-cnn", width=512) if self.task == "room10" else Network(kind="mlp", width=64)


CASES = [
    *(Case("ant", batch, depth) for batch in (64, 256) for depth in (1, 4, 8)),
    Case("cartpole", 64, 1),
    *(Case("room10", batch, depth) for batch in (64, 256) for depth in (1, 4, 8)),
]


def transitions(case: Case) -> tuple[torch.Tensor, ...]:
    """Observations, actions, log-probabilities, advantages and returns of an epoch; a room is a square that varies."""
    draw = torch.Generator().manual_seed(0)
    count = case.batch * MINIBATCHES
    match case.spaces.observation:
        case Vector(size):
            observations = torch.randn(count, size, generator=draw)
        case Characters(rows, columns):
            observations = torch.full((count, rows, columns), ord(" "), dtype=torch.uint8)
            observations[:, 5, 30 : 30 + ROOM] = observations[:, 16, 30 : 30 + ROOM] = ord("-")
            floor = torch.tensor(list(b"......@><d"), dtype=torch.uint8)
            places = torch.randint(len(floor), (count, ROOM, ROOM), generator=draw)
            observations[:, 6 : 6 + ROOM, 30 : 30 + ROOM] = floor[places]
    match case.spaces.action:
        case Continuous(low):
            actions, density = torch.randn(count, len(low), generator=draw), -1.4 * len(low)
        case Discrete(n):
            actions, density = torch.randint(n, (count,), generator=draw), -torch.tensor(n).log().item()
    log_probs, advantages, returns = torch.randn(3, count, generator=draw)
    return observations, actions, density + 0.1 * log_probs, advantages, returns


def products(agent: Agent, case: Case) -> float:
    """Milliseconds of one minibatch's matrix products and nothing else."""
    work, repeats = update_products(agent.network, case.batch, ROOM * ROOM), 20
    began = time.thread_time()
    multiply(work, repeats)
    return (time.thread_time() - began) / repeats * 1e3


def milliseconds(run, agent: Agent, batch: tuple[torch.Tensor, ...], settings: PPOSettings) -> tuple[float, float]:
    """Of one minibatch, and of an update's preparations."""
    took = {}
    for epochs in (1, 3):
        its = settings.model_copy(update={"n_epochs": epochs})
        began = time.thread_time()
        run(agent, *batch, its, torch.Generator().manual_seed(0))
        took[epochs] = (time.thread_time() - began) * 1e3
    epoch = (took[3] - took[1]) / 2
    return epoch / MINIBATCHES, took[1] - epoch


def measure(case: Case) -> dict[str, float]:
    settings = PPOSettings(batch_size=case.batch, learning_rate=1e-6)
    batch = transitions(case)
    one, other = (new_agent(case.network, case.depth, case.spaces, settings, None, 0) for _ in range(2))
    fast_way = fastest(other)
    taken: dict[str, list[float]] = {"plain": [], "fast": [], "ratio": [], "preparations": [], "floor": []}
    for pair in range(PAIRS + 1):
        plain, _ = milliseconds(by_autograd, one, batch, settings)
        with torch.inference_mode():
            floor = products(other, case)
        fast, preparations = milliseconds(fast_way, other, batch, settings)
        if pair:  # the first warms up
            for name, figure in zip(taken, (plain, fast, plain / fast, preparations, floor), strict=True):
                taken[name].append(figure)
    return {name: round(statistics.median(figures), 4) for name, figures in taken.items()}


def main() -> None:
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"load {os.getloadavg()[0]:.2f}; ms a minibatch, medians of {PAIRS} interleaved pairs")
    print("case              plain     fast   ratio   products   preparations of an update")
    figures = {}
    for case in CASES:
        if sys.argv[1:] and not any(part in case.name for part in sys.argv[1:]):
            continue
        its = figures[case.name] = measure(case)
        print(
            f"{case.name:<14}{its['plain']:9.3f}{its['fast']:9.3f}{its['ratio']:8.2f}{its['floor']:11.3f}"
            f"{its['preparations']:15.2f}",
            flush=True,
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
