"""Which cells of a MiniHack room's map ever change: the others tell an agent nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grownn_hpo.envs.vector import VectorEnv
from grownn_hpo.errors import Fault, InputError
from grownn_hpo.spec import Discrete

_ROOM = "MiniHack-Room-"
_EPISODES = 24
_WALKS = 20  # in an episode
_LONGEST_WALK = 15  # steps: the largest registered room from wall to wall


def varying_cells(envs: Sequence[str], kwargs: Mapping[str, Any], seed: int = 0) -> NDArray[np.bool_]:
    """The map's cells that change within or between these rooms: bool [rows, columns], a filled rectangle.

    A survey finds them: seeded episodes of walks, each a random direction held for a random number of steps, which
    reach every wall long before single random steps do. The rectangle around the cells that were seen to change is
    filled, since it is the rooms' interior. A deterministic function of the arguments; about half a second a room.

    Raises:
        InputError: an environment is no MiniHack room, or there is none.
    """
    if not envs:
        raise InputError(Fault("", "task.env", list(envs), "a survey of varying cells needs at least one room"))
    for env in envs:
        if not env.startswith(_ROOM):
            rule = f"only MiniHack's rooms ({_ROOM}…) have cells that never change: use network.cells: all"
            raise InputError(Fault("", "task.env", env, rule))
    maps = [_survey(env, kwargs, seed) for env in envs]
    lowest = np.minimum.reduce([low for low, _ in maps])
    highest = np.maximum.reduce([high for _, high in maps])
    return _rectangle(lowest != highest)


def _survey(env: str, kwargs: Mapping[str, Any], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The smallest and the largest character seen in each cell."""
    generator = np.random.default_rng(seed)
    with VectorEnv(env, kwargs, 1, seed) as vector:
        assert isinstance(vector.spaces.action, Discrete)
        choices = vector.spaces.action.n
        low = high = vector.reset()[0]
        for _ in range(_EPISODES):
            for _ in range(_WALKS):
                direction = generator.integers(choices, size=1)
                for _ in range(int(generator.integers(1, _LONGEST_WALK + 1))):
                    # An ended episode's last screen is empty, and none that an agent acts on.
                    seen = vector.step(direction).observations[0]
                    low, high = np.minimum(low, seen), np.maximum(high, seen)
            seen = vector.reset()[0]
            low, high = np.minimum(low, seen), np.maximum(high, seen)
    return low, high


def _rectangle(changed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The smallest filled rectangle around the cells that changed."""
    filled = np.zeros_like(changed)
    if changed.any():
        rows, columns = np.nonzero(changed)
        filled[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return filled
