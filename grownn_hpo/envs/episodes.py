"""Evaluation: whole episodes, each with its own seed, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grownn_hpo.envs.vector import Purpose, VectorEnv, episode_seeds
from grownn_hpo.spec import Discrete


@dataclass(frozen=True, slots=True)
class Episodes:
    """Finished episodes in the order of their numbers: undiscounted returns, lengths in env steps, successes."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    successes: tuple[bool | None, ...]

    @property
    def mean_return(self) -> float:
        return _mean(self.returns)

    @property
    def std_return(self) -> float:
        """The standard deviation of these episodes' returns themselves (divided by their number, not one less)."""
        with np.errstate(all="ignore"):
            return float(np.std(self.returns))

    @property
    def mean_length(self) -> float:
        return _mean(self.lengths)

    @property
    def success_rate(self) -> float | None:
        """None where the task has no notion of success."""
        known = [success for success in self.successes if success is not None]
        return _mean(known) if known else None


def play(
    act: Callable[[NDArray[Any]], NDArray[Any]], vector: VectorEnv, episodes: int, round_number: int = 0
) -> Episodes:
    """Run exactly `episodes` episodes; episode k is a function of (`vector.seed`, `round_number`, k) and `act` alone.

    `act` maps observations [n, *O] of the n <= N environments that still play to their n actions. An environment that
    is free takes the next number. Every episode that starts is counted, so short ones are not favoured; and neither
    its number nor its seed depends on N. `vector` needs a `reset` before it steps again.

    Raises:
        ValueError, FloatingPointError: as `VectorEnv.step`; ValueError if `episodes` is less than 1.
    """
    if episodes < 1:
        raise ValueError(f"episodes = {episodes}: must be at least 1")
    vector.interrupt()
    finished: dict[int, tuple[float, int, bool | None]] = {}
    waiting = iter(range(episodes))
    playing: dict[int, int] = {}
    observations = vector.blank()

    def begin(index: int) -> None:
        if (number := next(waiting, None)) is not None:
            seeds = episode_seeds(vector.seed, Purpose.EVALUATION, round_number, number)
            observations[index] = vector.begin(index, seeds)
            playing[index] = number

    for index in range(len(vector)):
        begin(index)
    while playing:
        active = np.array(sorted(playing))
        seen = vector.advance(act(observations[active]), active if len(active) < len(vector) else None)
        observations[active] = seen.observations
        for row in np.flatnonzero(seen.terminated | seen.truncated).tolist():
            index = int(active[row])
            finished[playing.pop(index)] = (*vector.tally(index), seen.successes[row])
            begin(index)
    returns, lengths, successes = zip(*(finished[number] for number in range(episodes)), strict=True)
    return Episodes(returns, lengths, successes)


def random_policy(env: str, kwargs: Mapping[str, Any], episodes: int, seed: int) -> Episodes:
    """What the random policy makes of `env`: uniform over choices and between finite bounds, else standard normal."""
    generator = np.random.default_rng(seed)
    with VectorEnv(env, kwargs, 1, seed) as vector:
        return play(random_actions(vector, generator), vector, episodes)


def random_actions(vector: VectorEnv, generator: np.random.Generator) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The random policy: from observations [n, *O], of which it takes only n, to n actions."""
    space = vector.spaces.action
    if isinstance(space, Discrete):
        return lambda observations: generator.integers(space.n, size=len(observations))
    low, high = np.array(space.low), np.array(space.high)
    bounded = np.isfinite(low) & np.isfinite(high)
    floor, span = np.where(bounded, low, 0.0), np.where(bounded, high, 0.0) - np.where(bounded, low, 0.0)

    def act(observations: NDArray[Any]) -> NDArray[np.float64]:
        shape = (len(observations), len(low))
        return np.where(bounded, floor + span * generator.random(shape), generator.standard_normal(shape))

    return act


def _mean(values: tuple[float, ...] | tuple[int, ...] | list[bool]) -> float:
    with np.errstate(all="ignore"):  # an environment may have paid infinities
        return float(np.mean(values))
