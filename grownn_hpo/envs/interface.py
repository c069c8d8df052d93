"""An environment as the networks see it, alone and as one of several: few shapes, seeded episodes.

Notation: `N` environments side by side, `n` of them that act; `O` the shape of one observation, (size,) float32 or
(rows, columns) uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.spec import Spaces


class Transition(NamedTuple):
    """What one env step led to.

    `observation` may be a view that the next step overwrites. `success` is None where the task has no notion of it,
    and means nothing before the episode's end.
    """

    observation: NDArray[Any]
    reward: float
    terminated: bool
    truncated: bool
    success: bool | None


class Single(Protocol):
    """One environment. An episode is a function of the seeds it was reset with and of the actions alone.

    `action_names` says what the environment itself calls each of the choices of a Discrete; none for Continuous.
    """

    spaces: Spaces
    action_names: tuple[str, ...]

    def reset(self, seeds: SeedSequence) -> NDArray[Any]:
        """Start the episode that `seeds` determines; an observation that the next call may overwrite."""
        ...

    def step(self, action: NDArray[Any]) -> Transition:
        """Act: an integer scalar for Discrete, a vector of floats (clipped to its bounds here) for Continuous."""
        ...

    def close(self) -> None: ...


class Transitions(NamedTuple):
    """What one env step of `n` environments led to, a row each. The arrays are the caller's to keep.

    An episode has ended where `terminated` or `truncated`; `successes` mean something there alone, and are None where
    the task has no notion of it.
    """

    observations: NDArray[Any]  # [n, *O]
    rewards: NDArray[np.float64]  # [n]
    terminated: NDArray[np.bool_]  # [n]
    truncated: NDArray[np.bool_]  # [n]
    successes: Sequence[bool | None]


class Team(Protocol):
    """`N` environments of one kind, each reset by itself, that act by one call; what one does changes no other."""

    def reset(self, index: int, seeds: SeedSequence) -> NDArray[Any]:
        """Start the episode that `seeds` determines in one of them: as `Single.reset`."""
        ...

    def step(self, actions: NDArray[Any], indices: NDArray[np.intp] | None) -> Transitions:
        """Act in those of these (ascending) `indices`, None for all: `actions` has a row for each, as `Single.step`."""
        ...

    def close(self) -> None:
        """Close them all; may be called twice."""
        ...


@runtime_checkable
class Joining(Protocol):
    """An environment that may know a better way to step several of its kind than one by one."""

    def team(self, singles: Sequence[Single]) -> Team | None:
        """All of `singles`, itself among them, as a team, and from then on used through it alone; None if it cannot."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """An environment that can be drawn in pixels."""

    @property
    def steps_per_second(self) -> float:
        """How fast it is to be shown, in env steps."""
        ...

    def picture(self) -> NDArray[np.uint8]:
        """What it looks like now: uint8 [height, width, 3]; GrowNNError where nothing can be drawn."""
        ...
