"""Several environments in one process, stepped in a loop.

Notation: `N` environments; `O` the shape of one observation, (size,) float32 or (rows, columns) uint8.

A process of its own per environment does not pay for tasks whose step costs microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.envs.interface import Single, Transition
from grownn_hpo.envs.opening import open_env
from grownn_hpo.spec import Characters, Discrete


class Purpose(IntEnum):
    """What an episode is for; episodes of different purposes share no seed, whatever the other numbers are."""

    TRAINING = 0
    EVALUATION = 1


def episode_seeds(seed: int, purpose: Purpose, major: int, minor: int) -> SeedSequence:
    """The seeds of one episode, a hash of all four numbers (each at least 0, `seed` below 2**128).

    `major, minor` are environment and episode in training, round and episode in evaluation. As a spawn key they
    stand apart from the seed, so that different numbers never make the same sequence of words.
    """
    return SeedSequence(seed, spawn_key=(purpose, major, minor))


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode that ended: in which environment, its undiscounted return, its length in env steps."""

    env: int
    total: float
    length: int
    success: bool | None


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of all environments led to.

    Where an episode ended, `observations` holds the next episode's first, and `final_observations`, by environment,
    the one that the episode ended with. The arrays are the caller's to keep.
    """

    observations: NDArray[Any]  # [N, *O]
    rewards: NDArray[np.float64]  # [N]
    terminated: NDArray[np.bool_]  # [N]
    truncated: NDArray[np.bool_]  # [N]
    final_observations: dict[int, NDArray[Any]]
    episodes: tuple[Episode, ...]


class Member:
    """One of the environments, with the tally of its running episode."""

    def __init__(self, single: Single) -> None:
        self._single = single
        self.total, self.length = 0.0, 0

    def begin(self, seeds: SeedSequence) -> NDArray[Any]:
        self.total, self.length = 0.0, 0
        return self._single.reset(seeds)

    def step(self, action: NDArray[Any]) -> Transition:
        transition = self._single.step(action)
        self.total += transition.reward
        self.length += 1
        return transition

    def close(self) -> None:
        self._single.close()


class VectorEnv:
    """N environments of one kind; an ended episode is followed by the next within the same step.

    Environment i's k-th episode is a function of (`seed`, i, k) and the actions alone: not of its neighbours, of
    what ran before, or of the date. Rewards and observations that are not finite are handed on as they are.
    `opener` builds each of them.

    Raises:
        InputError: as `describe`.
    """

    def __init__(
        self,
        env: str,
        kwargs: Mapping[str, Any],
        n: int,
        seed: int,
        opener: Callable[[str, Mapping[str, Any]], Single] = open_env,
    ) -> None:
        if n < 1:
            raise ValueError(f"n = {n}: at least one environment must run")
        self.seed = seed
        self.members: list[Member] = []
        self._next = [0] * n
        self._running = False
        try:
            first = opener(env, kwargs)
            self.spaces = first.spaces
            self.members.append(Member(first))
            self.members.extend(Member(opener(env, kwargs)) for _ in range(n - 1))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.members)

    @property
    def n(self) -> int:
        return len(self.members)

    def reset(self) -> NDArray[Any]:
        """Begin the next episode everywhere: observations [N, *O]. A running episode is left unfinished."""
        observations = self.blank()
        for index in range(len(self)):
            observations[index] = self._begin(index)
        self._running = True
        return observations

    def step(self, actions: NDArray[Any]) -> Step:
        """Act in every environment: `actions` is [N] of integers for Discrete, [N, size] of floats for Continuous.

        Continuous actions are clipped to their bounds.

        Raises:
            ValueError: the actions' shape, or an action that is none of the n.
            FloatingPointError: an action is not finite.
            RuntimeError: there was no `reset` since the start, or the last `play`.
        """
        if not self._running:
            raise RuntimeError("no episode is running: call reset() first (also after play())")
        self.check(actions, len(self))
        observations = self.blank()
        rewards = np.empty(len(self), np.float64)
        terminated = np.zeros(len(self), np.bool_)
        truncated = np.zeros(len(self), np.bool_)
        final_observations: dict[int, NDArray[Any]] = {}
        episodes: list[Episode] = []
        for index, member in enumerate(self.members):
            seen = member.step(actions[index])
            rewards[index] = seen.reward
            observations[index] = seen.observation
            if seen.terminated or seen.truncated:
                terminated[index], truncated[index] = seen.terminated, seen.truncated
                episodes.append(Episode(index, member.total, member.length, seen.success))
                final_observations[index] = observations[index].copy()
                observations[index] = self._begin(index)
        return Step(observations, rewards, terminated, truncated, final_observations, tuple(episodes))

    def interrupt(self) -> None:
        """Leave the running episodes unfinished; a `reset` must follow."""
        self._running = False

    def blank(self) -> NDArray[Any]:
        """An array for all environments' observations, [N, *O], not filled yet."""
        match self.spaces.observation:
            case Characters(rows, columns):
                return np.empty((len(self), rows, columns), np.uint8)
            case vector:
                return np.empty((len(self), vector.size), np.float32)

    def check(self, actions: NDArray[Any], n: int) -> None:
        """Raise what `step` promises unless `actions` are `n` actions."""
        match self.spaces.action:
            case Discrete(choices):
                if actions.shape != (n,) or actions.dtype.kind not in "iu":
                    raise ValueError(f"actions are {actions.dtype}{list(actions.shape)}: must be integers [{n}]")
                if actions.min() < 0 or actions.max() >= choices:
                    raise ValueError(f"actions = {actions.tolist()}: each must be one of 0 to {choices - 1}")
            case continuous:
                if actions.shape != (n, len(continuous.low)):
                    raise ValueError(f"actions are {list(actions.shape)}: must be [{n}, {len(continuous.low)}]")
                if not np.isfinite(actions).all():
                    raise FloatingPointError(f"actions = {actions.tolist()}: a policy must act in finite numbers")

    def close(self) -> None:
        """Close all environments; may be called twice."""
        self._running = False
        while self.members:
            self.members.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, index: int) -> NDArray[Any]:
        seeds = episode_seeds(self.seed, Purpose.TRAINING, index, self._next[index])
        self._next[index] += 1
        return self.members[index].begin(seeds)
