"""Several environments as one team: by one call where their kind has it, else one by one.

A process of its own per environment does not pay for tasks whose step costs microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.envs.interface import Joining, Single, Team, Transitions
from grownn_hpo.spec import Characters, Spaces


def together(singles: Sequence[Single]) -> Team:
    """The environments (at least one, all of one kind) as a team, which owns them from then on."""
    first = singles[0]
    return (first.team(singles) if isinstance(first, Joining) else None) or OneByOne(singles, first.spaces)


def layout(spaces: Spaces) -> tuple[tuple[int, ...], type[np.generic]]:
    """The shape and the type of one observation."""
    match spaces.observation:
        case Characters(rows, columns):
            return (rows, columns), np.uint8
        case vector:
            return (vector.size,), np.float32


class OneByOne:
    """The team of any environments: a loop."""

    def __init__(self, singles: Sequence[Single], spaces: Spaces) -> None:
        self._singles = list(singles)
        self._shape, self._dtype = layout(spaces)

    def reset(self, index: int, seeds: SeedSequence) -> NDArray[Any]:
        return self._singles[index].reset(seeds)

    def step(self, actions: NDArray[Any], indices: NDArray[np.intp] | None) -> Transitions:
        singles = self._singles if indices is None else [self._singles[index] for index in indices]
        n = len(singles)
        observations, rewards = np.empty((n, *self._shape), self._dtype), np.empty(n)
        terminated, truncated = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        successes: list[bool | None] = [None] * n
        for row, single in enumerate(singles):
            observation, reward, its_end, its_limit, success = single.step(actions[row])
            observations[row] = observation
            rewards[row] = reward
            if its_end or its_limit:
                terminated[row], truncated[row], successes[row] = its_end, its_limit, success
        return Transitions(observations, rewards, terminated, truncated, successes)

    def close(self) -> None:
        while self._singles:
            self._singles.pop().close()
