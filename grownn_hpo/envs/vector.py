"""Several environments in one process, episode after episode.

Notation: `N` environments; `O` the shape of one observation, (size,) float32 or (rows, columns) uint8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.envs.interface import Single, Team, Transitions
from grownn_hpo.envs.opening import open_env
from grownn_hpo.envs.team import OneByOne, layout, together
from grownn_hpo.spec import Discrete


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


class Episode(NamedTuple):
    """An episode that ended: in which environment, its undiscounted return, its length in env steps."""

    env: int
    total: float
    length: int
    success: bool | None


class Step(NamedTuple):
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
        self.n, self.seed = n, seed
        self._all = range(n)
        self._next = [0] * n
        self._totals, self._lengths = [0.0] * n, [0] * n  # of the running episodes
        self._running = False
        singles: list[Single] = []
        try:
            for _ in range(n):
                singles.append(opener(env, kwargs))
            self._team: Team = together(singles)
        except BaseException:
            for single in singles:
                single.close()
            raise
        self.spaces = singles[0].spaces

    def __len__(self) -> int:
        return self.n

    def reset(self) -> NDArray[Any]:
        """Begin the next episode everywhere: observations [N, *O]. A running episode is left unfinished."""
        observations = self.blank()
        for index in range(self.n):
            observations[index] = self._begin_next(index)
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
        observations, rewards, terminated, truncated, successes = self.advance(actions)
        final_observations: dict[int, NDArray[Any]] = {}
        episodes: list[Episode] = []
        ended = terminated | truncated
        if np.count_nonzero(ended):  # `any` and `all` take five times as long
            for index in np.flatnonzero(ended).tolist():
                episodes.append(Episode(index, *self.tally(index), successes[index]))
                final_observations[index] = observations[index].copy()
                observations[index] = self._begin_next(index)
        return Step(observations, rewards, terminated, truncated, final_observations, tuple(episodes))

    def interrupt(self) -> None:
        """Leave the running episodes unfinished; a `reset` must follow."""
        self._running = False

    def begin(self, index: int, seeds: SeedSequence) -> NDArray[Any]:
        """Begin the episode of `seeds` in one environment: an observation that the next call may overwrite."""
        self._totals[index], self._lengths[index] = 0.0, 0
        return self._team.reset(index, seeds)

    def advance(self, actions: NDArray[Any], indices: NDArray[np.intp] | None = None) -> Transitions:
        """Act in these environments (ascending `indices`; None for all), and begin no other episode where one ends.

        `actions` has a row for each of them. Raises ValueError, FloatingPointError as `step`.
        """
        self._check(actions, self.n if indices is None else len(indices))
        seen = self._team.step(actions, indices)
        totals, lengths = self._totals, self._lengths
        for index, reward in zip(self._all if indices is None else indices, seen.rewards.tolist(), strict=True):
            totals[index] += reward
            lengths[index] += 1
        return seen

    def tally(self, index: int) -> tuple[float, int]:
        """The undiscounted return, and the length in env steps, of an environment's episode so far."""
        return self._totals[index], self._lengths[index]

    def blank(self) -> NDArray[Any]:
        """An array for all environments' observations, [N, *O], not filled yet."""
        shape, dtype = layout(self.spaces)
        return np.empty((self.n, *shape), dtype)

    def close(self) -> None:
        """Close all environments; may be called twice."""
        self._running = False
        self._team.close()
        self._team = OneByOne((), self.spaces)  # of nobody: what the other held is freed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin_next(self, index: int) -> NDArray[Any]:
        seeds = episode_seeds(self.seed, Purpose.TRAINING, index, self._next[index])
        self._next[index] += 1
        return self.begin(index, seeds)

    def _check(self, actions: NDArray[Any], n: int) -> None:
        """Raise what `step` promises unless `actions` are `n` actions."""
        match self.spaces.action:
            case Discrete(choices):
                if actions.shape != (n,) or actions.dtype.kind not in "iu":
                    raise ValueError(f"actions are {actions.dtype}{list(actions.shape)}: must be integers [{n}]")
                listed = actions.tolist()
                if min(listed) < 0 or max(listed) >= choices:
                    raise ValueError(f"actions = {listed}: each must be one of 0 to {choices - 1}")
            case continuous:
                if actions.shape != (n, len(continuous.low)):
                    raise ValueError(f"actions are {list(actions.shape)}: must be [{n}, {len(continuous.low)}]")
                if np.count_nonzero(np.isfinite(actions)) < actions.size:
                    raise FloatingPointError(f"actions = {actions.tolist()}: a policy must act in finite numbers")
