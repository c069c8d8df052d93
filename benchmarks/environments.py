"""The environments alone, ours against Gymnasium's stock ones, in interleaved pairs under the same actions.

Both sides of a pair play the same episodes: seeds and actions are equal, and so are, by the tests, all that they show.
CPU seconds of this process are compared (wall seconds for building, where MiniHack waits for a compiler), on the core
that it is pinned to. Prints a line per case and, last, one JSON object: medians in microseconds per env step, or in
milliseconds per environment built, and the pairs' ratios: median, lowest, highest.

    python -m benchmarks.environments [CASE ...] [--pairs N] [--core N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.random import SeedSequence

from benchmarks import stock
from grownn_hpo.envs.interface import Single
from grownn_hpo.envs.opening import is_minihack, open_env
from grownn_hpo.envs.simulation import timer

ROOM = "MiniHack-Room-Random-10x10-v0"
COMPASS = {(-1, 0): 0, (0, 1): 1, (1, 0): 2, (0, -1): 3, (-1, 1): 4, (1, 1): 5, (1, -1): 6, (-1, -1): 7}

Episode = tuple[SeedSequence, list[Any]]
"""What decides an episode: its seeds and its actions."""


class Stock:
    """A stock environment under the interface of ours: what a trainer would call, with nothing else."""

    def __init__(self, env: str) -> None:
        self._minihack = is_minihack(env)
        self._env: Any = stock.make(env, {})

    def reset(self, seeds: SeedSequence) -> Any:
        if not self._minihack:
            return self._env.reset(seed=int(seeds.generate_state(1)[0] >> 1))
        core, display, _ = (int(word >> 1) for word in seeds.generate_state(3, np.uint64))
        self._env.unwrapped.seed(core, display, reseed=False)
        return self._env.reset()

    def step(self, action: Any) -> Any:
        return self._env.step(action)

    def close(self) -> None:
        self._env.close()


def record(env: str, steps: int, act: Callable[[Any], Any]) -> list[Episode]:
    """Whole episodes of at least `steps` env steps together."""
    single, episodes = open_env(env, {}), []
    for number in count():
        if sum(len(actions) for _, actions in episodes) >= steps:
            break
        seeds, actions, over = SeedSequence(number), [], False
        observation = single.reset(seeds)
        while not over:
            actions.append(act(observation))
            seen = single.step(actions[-1])
            observation, over = seen.observation, seen.terminated or seen.truncated
        episodes.append((seeds, actions))
    single.close()
    return episodes


def replayed(single: Single | Stock, episodes: list[Episode]) -> float:
    """CPU microseconds per env step, resets and ends included."""
    began = time.process_time()
    for seeds, actions in episodes:
        single.reset(SeedSequence(seeds.entropy))
        for action in actions:
            single.step(action)
    return (time.process_time() - began) * 1e6 / sum(len(actions) for _, actions in episodes)


def built(build: Callable[[], Any]) -> float:
    """Wall milliseconds to build an environment and close it."""
    began = time.perf_counter()
    build().close()
    return (time.perf_counter() - began) * 1e3


def to_the_stairs(generator: np.random.Generator) -> Callable[[Any], Any]:
    """Walks straight to the stairs down; at random where they are hidden under the hero."""

    def act(chars: Any) -> Any:
        hero, stairs = np.argwhere(chars == ord("@")), np.argwhere(chars == ord(">"))
        if len(hero) != 1 or len(stairs) != 1:
            return generator.integers(8)
        return np.int64(COMPASS[tuple(np.sign(stairs[0] - hero[0]).tolist())])

    return act


def pairs(env: str, steps: int, act: Callable[[Any], Any]) -> Iterator[tuple[float, float]]:
    clock = timer()
    stock_clock = clock.value  # ours takes it away from the whole process
    episodes = record(env, steps, act)
    ours, its_stock = open_env(env, {}), Stock(env)
    while True:
        clock.value = None
        own = replayed(ours, episodes)
        clock.value = stock_clock
        yield own, replayed(its_stock, episodes)


def builds(env: str) -> Iterator[tuple[float, float]]:
    while True:
        yield built(lambda: open_env(env, {})), built(lambda: Stock(env))


def torques(generator: np.random.Generator) -> Callable[[Any], Any]:
    return lambda _: generator.uniform(-1, 1, 8).astype(np.float32)


def choices(n: int, generator: np.random.Generator) -> Callable[[Any], Any]:
    return lambda _: generator.integers(n)


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
