"""One environment as the networks see it: few shapes, seeded episodes."""

from __future__ import annotations

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
