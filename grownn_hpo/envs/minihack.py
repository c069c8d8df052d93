"""MiniHack: its registered environments and 10x10 rooms beside them, seeded whole, and stepped without waste.

Importing this module registers the 10x10 rooms (once) and loads NLE.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.envs import catalogue
from grownn_hpo.envs.interface import Transition
from grownn_hpo.envs.levels import compiled_once
from grownn_hpo.envs.room import Room, is_room
from grownn_hpo.errors import Fault, InputError
from grownn_hpo.spec import Characters, Discrete, Spaces

with warnings.catch_warnings():
    # minihack 1.0.2 finds its own folder with pkg_resources; setuptools is pinned below the release that drops it.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    from minihack.base import MH_NETHACKOPTIONS
    from minihack.envs import register
    from nle import nethack

# One monster and one trap, as in the 5x5 rooms (15x15 has 3 and 15): so they stand in the MiniHack that the paper's
# first author published, github.com/LukasFehring/minihack, minihack/envs/room.py.
ROOMS_10X10: dict[str, dict[str, Any]] = {
    "MiniHack-Room-10x10-v0": {"random": False},
    "MiniHack-Room-Random-10x10-v0": {},
    "MiniHack-Room-Dark-10x10-v0": {"lit": False},
    "MiniHack-Room-Monster-10x10-v0": {"n_monster": 1},
    "MiniHack-Room-Trap-10x10-v0": {"n_trap": 1},
    "MiniHack-Room-Ultimate-10x10-v0": {"lit": False, "n_monster": 1, "n_trap": 1},
}

# These decide what the agent sees and that an episode depends on its seed alone.
_OURS: dict[str, Any] = {"observation_keys": ("chars",), "fix_moon_phase": True}

# MiniHack's own for a game without a pet, but that one which is over shows none of six screens that nobody reads.
_DISCLOSE = {"disclose:+i +a +v +g +c +o": "disclose:-i -a -v -g -c -o"}
_ROOM_OPTIONS = (*(_DISCLOSE.get(option, option) for option in MH_NETHACKOPTIONS), "pettype:none")


def register_rooms() -> None:
    """Register the 10x10 rooms with Gymnasium, unless they are there already."""
    for room, parameters in ROOMS_10X10.items():
        if room not in gymnasium.registry:
            register(id=room, entry_point="minihack.envs.room:MiniHackRoom", kwargs={"size": 10, **parameters})


register_rooms()

_ACTIONS = {int(action): action for action in reversed(nethack.ACTIONS)}  # of several names the first
_CARDINAL = {"N": "north", "E": "east", "S": "south", "W": "west"}
_COMPASS = _CARDINAL | {"NE": "north-east", "SE": "south-east", "SW": "south-west", "NW": "north-west"}


class MiniHackEnv:
    """A MiniHack environment seen as its map of characters, uint8 [21, 79], and acted in by MiniHack's own actions.

    Observations, rewards, ends and randomness are those of the registered environment, step by step (the observation
    that an episode ends with is an empty screen, all 0, because MiniHack quits the game within the last step). A
    time limit is MiniHack's own: it *terminates* the episode, without success, as in the paper's experiments.
    """

    def __init__(self, env: str, kwargs: Mapping[str, Any]) -> None:
        if ours := _OURS.keys() & kwargs.keys():
            key = min(ours)
            raise InputError(Fault("", f"task.kwargs.{key}", kwargs[key], f"is fixed to {_OURS[key]!r}: leave it out"))
        chosen = dict(kwargs)
        limit = chosen.pop("max_episode_steps", None)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise InputError(Fault("", "task.kwargs.max_episode_steps", limit, "must be a whole number, at least 1"))
        room = is_room(env) and not chosen
        fixed = _OURS | ({"options": _ROOM_OPTIONS} if room else {})
        with compiled_once():
            self._env = catalogue.make(env, chosen, **fixed)
        self._game = self._env.unwrapped
        if limit is not None:
            # `gymnasium.make` would keep it for a wrapper, and the game's own limit would still hold.
            self._game._max_episode_steps = limit
        self._room = Room(env, self._game) if room else None
        seen, acted = self._env.observation_space, self._env.action_space
        if not (isinstance(seen, gymnasium.spaces.Dict) and isinstance(acted, gymnasium.spaces.Discrete)):
            self._env.close()
            raise catalogue.fault(
                env, f"what is called MiniHack- must show `chars` in a Dict and act in a Discrete, not {seen}, {acted}"
            )
        rows, columns = seen["chars"].shape or ()
        self.spaces = Spaces(Characters(rows, columns), Discrete(int(acted.n)))
        self.action_names = tuple(map(_action_name, self._game.actions))
        self._success = self._game.StepStatus.TASK_SUCCESSFUL

    def reset(self, seeds: SeedSequence) -> NDArray[np.uint8]:
        core, display, python = (int(word >> 1) for word in seeds.generate_state(3, np.uint64))
        if self._room is not None:
            return self._room.reset(core, display)
        self._game.seed(core, display, reseed=False)
        # Some levels are drawn by Python's global generator, at a reset and never within a step.
        outside = random.getstate()
        random.seed(python)
        try:
            observation, _ = self._env.reset()
        finally:
            random.setstate(outside)
        chars: NDArray[np.uint8] = observation["chars"]
        return chars

    def step(self, action: NDArray[Any]) -> Transition:
        if self._room is not None:
            return self._room.step(int(action))
        observation, reward, terminated, truncated, info = self._env.step(int(action))
        return Transition(
            observation["chars"], float(reward), terminated, truncated, info["end_status"] == self._success
        )

    def close(self) -> None:
        self._env.close()


def _action_name(action: int) -> str:
    """What NLE calls an action, in words: `south-east`, `pickup`, `far north` for as far as one can go."""
    known = _ACTIONS.get(action)
    if known is None:
        return f"key {int(action)}"
    word = _COMPASS.get(known.name, known.name.lower().replace("_", " "))
    return f"far {word}" if "Longer" in type(known).__name__ else word
