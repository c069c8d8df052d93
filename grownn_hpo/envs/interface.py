"""One environment as the networks see it: few shapes, seeded episodes."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

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
    """One environment. An episode is a function of the seeds it was reset with and of the actions alone."""

    spaces: Spaces

    def reset(self, seeds: SeedSequence) -> NDArray[Any]:
        """Start the episode that `seeds` determines; an observation that the next call may overwrite."""
        ...

    def step(self, action: NDArray[Any]) -> Transition:
        """Act: an integer scalar for Discrete, a vector of floats (clipped to its bounds here) for Continuous."""
        ...

    def close(self) -> None: ...
