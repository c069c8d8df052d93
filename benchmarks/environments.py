"""The environments alone, ours against Gymnasium's stock ones, in interleaved pairs under the same actions.

Five side by side, as in training: a `VectorEnv` against the least that a trainer needs of five stock environments, a
loop that gathers what they show and pay, and resets those whose episodes end. Both play the same episodes: seeds and
actions are equal, and so are, by the tests, all that they show. CPU seconds of this process are compared (wall seconds
for building, where MiniHack waits for a compiler), on the core that it is pinned to. Prints a line per case and, last,
one JSON object: medians in microseconds per env step, or in milliseconds per environment built, and the pairs' ratios:
median, lowest, highest.

    python -m benchmarks.environments [CASE ...] [--pairs N] [--core N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from benchmarks import stock
from benchmarks.cases import ENVS
from grownn_hpo.envs import VectorEnv
from grownn_hpo.envs.opening import is_minihack, open_env
from grownn_hpo.envs.simulation import timer
from grownn_hpo.envs.vector import Purpose, episode_seeds

ROOM = "MiniHack-Room-Random-10x10-v0"
COMPASS = {(-1, 0): 0, (0, 1): 1, (1, 0): 2, (0, -1): 3, (-1, 1): 4, (1, 1): 5, (1, -1): 6, (-1, -1): 7}

SEED = 0


class Stock:
    """A stock environment, reset with the seeds of ours: what a trainer would call, with nothing else."""

    def __init__(self, env: str) -> None:
        self._minihack = is_minihack(env)
        self._env: Any = stock.make(env, {})
        self.step, self.close = self._env.step, self._env.close

    def reset(self, seeds: SeedSequence) -> Any:
        if not self._minihack:
            return self._env.reset(seed=int(seeds.generate_state(1)[0] >> 1))[0]
        core, display, _ = (int(word >> 1) for word in seeds.generate_state(3, np.uint64))
        self._env.unwrapped.seed(core, display, reseed=False)
        return self._env.reset()[0]


class StockLoop:
    """Stock environments side by side, with the episodes of a `VectorEnv`."""

    def __init__(self, env: str) -> None:
        self._envs = [Stock(env) for _ in range(ENVS)]
        self._next = [0] * ENVS
        self._shown = itemgetter("chars") if is_minihack(env) else np.asarray
        self._blank = np.array([self._begin(index) for index in range(ENVS)])

    def step(self, actions: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Observations, rewards, and where episodes were terminated and truncated."""
        observations, rewards = np.empty_like(self._blank), np.empty(ENVS)
        terminated, truncated = np.empty(ENVS, np.bool_), np.empty(ENVS, np.bool_)
        for index, env in enumerate(self._envs):
            seen, rewards[index], its_end, its_limit, _ = env.step(actions[index])
            observations[index], terminated[index], truncated[index] = self._shown(seen), its_end, its_limit
            if its_end or its_limit:
                observations[index] = self._begin(index)
        return observations, rewards, terminated, truncated

    def _begin(self, index: int) -> Any:
        seeds = episode_seeds(SEED, Purpose.TRAINING, index, self._next[index])
        self._next[index] += 1
        return self._shown(self._envs[index].reset(seeds))


def played(environments: VectorEnv | StockLoop, actions: list[Any]) -> float:
    """CPU microseconds per env step, ends and the next episodes' starts included."""
    began = time.process_time()
    for each in actions:
        environments.step(each)
    return (time.process_time() - began) * 1e6 / (len(actions) * ENVS)


def built(build: Callable[[], Any]) -> float:
    """Wall milliseconds to build an environment and close it."""
    began = time.perf_counter()
    build().close()
    return (time.perf_counter() - began) * 1e3


def to_the_stairs(generator: np.random.Generator) -> Callable[[Any], Any]:
    """Walks straight to the stairs down; at random where they are hidden under the hero."""

    def way(chars: Any) -> int:
        hero, stairs = np.argwhere(chars == ord("@")), np.argwhere(chars == ord(">"))
        if len(hero) != 1 or len(stairs) != 1:
            return int(generator.integers(8))
        return COMPASS[tuple(np.sign(stairs[0] - hero[0]).tolist())]

    return lambda observations: np.array([way(chars) for chars in observations])


def pairs(env: str, steps: int, act: Callable[[Any], Any]) -> Iterator[tuple[float, float]]:
    """Of `steps` env steps each, which go on where the last have ended; a third of a kind finds the actions."""
    clock = timer()
    stock_clock = clock.value  # ours takes it away from the whole process
    scout, ours, its_stock = VectorEnv(env, {}, ENVS, SEED), VectorEnv(env, {}, ENVS, SEED), StockLoop(env)
    observations = scout.reset()
    ours.reset()
    while True:
        actions = []
        for _ in range(steps // ENVS):
            actions.append(act(observations))
            observations = scout.step(actions[-1]).observations
        clock.value = None
        own = played(ours, actions)
        clock.value = stock_clock
        yield own, played(its_stock, actions)


def builds(env: str) -> Iterator[tuple[float, float]]:
    while True:
        yield built(lambda: open_env(env, {})), built(lambda: Stock(env))


def torques(generator: np.random.Generator) -> Callable[[Any], Any]:
    return lambda observations: generator.uniform(-1, 1, (len(observations), 8)).astype(np.float32)


def choices(n: int, generator: np.random.Generator) -> Callable[[Any], Any]:
    return lambda observations: generator.integers(n, size=len(observations))


def cases() -> dict[str, tuple[str, Iterator[tuple[float, float]]]]:
    """By name: the unit, and an endless source of pairs (ours, stock)."""
    generator, micro = np.random.default_rng(0), "us per env step"
    return {
        "ant-env": (micro, pairs("Ant-v4", 500, torques(generator))),
        "room10-env-random": (micro, pairs(ROOM, 1000, choices(8, generator))),
        "room10-env-optimal": (micro, pairs(ROOM, 200, to_the_stairs(generator))),
        "cartpole-env": (micro, pairs("CartPole-v1", 4000, choices(2, generator))),
        "room10-build": ("ms per environment", builds(ROOM)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all if none is named")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="to be pinned to")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {asked.core})
    figures = {}
    known = cases()
    for name in asked.cases or known:
        unit, source = known[name]
        next(source)  # the first pair warms the caches of both
        taken = [next(source) for _ in range(asked.pairs)]
        ours, theirs = (statistics.median(side) for side in zip(*taken, strict=True))
        ratios = sorted(its_stock / own for own, its_stock in taken)
        ratio, low, high = statistics.median(ratios), ratios[0], ratios[-1]
        figures[name] = {"ratio": ratio, "low": low, "high": high, "ours": ours, "theirs": theirs, "unit": unit}
        print(f"{name}: {ratio:.2f}x ({low:.2f} to {high:.2f}); {ours:.1f} against {theirs:.1f} {unit}", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
