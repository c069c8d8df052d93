"""A registered MiniHack room played on NetHack itself: MiniHack's and NLE's `reset` and `step` without their layers.

What they return, and every draw from NetHack's random numbers, stay as they are; `tests/envs/test_env_minihack.py` runs
both side by side. Sources: `NLE.step` (nle/env/base.py), `NetHackScore._get_time_penalty` (nle/env/tasks.py),
`MiniHack._reward_fn` (minihack/base.py), at the registered rooms' settings.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from nle import nethack
from numpy.typing import NDArray

from grownn_hpo.envs.interface import Transition

# The rooms known here. In those without contents only the hero moves, and no object can come to lie.
_ROOM = re.compile(r"MiniHack-Room-(?:(?P<contents>Monster|Trap|Ultimate)-|Random-|Dark-)?(?:5x5|10x10|15x15)-v0")

# What is read below, and the observation.
_READ = ("chars", "blstats", "message", "program_state", "internal")

# Entries of NLE's `program_state` and `internal`.
_IN_MOVELOOP = 3
_ASKS = slice(1, 4)  # the game waits for a choice, a line of text, or a space
_ON_STAIRS_DOWN = 4

_WIN, _FROZEN = 1.0, -0.01  # rewards: on the stairs down; where no game time passed (a wall, say)
_PROMPTS = 1000  # at most, before a game begins


def is_room(env: str) -> bool:
    """Whether `env` is a registered room, which `Room` can play if it was built without settings of one's own."""
    return _ROOM.fullmatch(env) is not None


class Room:
    """One room, from its MiniHack environment `game`, unwrapped, which owns the NetHack and must not be stepped itself.

    In a room without contents NetHack is spared the observations that nobody reads: describing each square is the
    dearest. Elsewhere it is not, since describing a remembered corpse draws from the game's own random numbers. A game
    that is over is quit everywhere: one that the next reset finds unfinished leaves 2 KB behind that nobody frees.
    """

    def __init__(self, env: str, game: Any) -> None:
        room = _ROOM.fullmatch(env)
        assert room is not None, f"{env} is no room"
        self._game, self._keys, self._limit = game, [int(key) for key in game.actions], game._max_episode_steps
        self._nethack = game.nethack._pynethack
        buffers = game.nethack._obs_buffers
        self._chars, self._blstats = buffers["chars"], buffers["blstats"]
        self._internal, self._program_state = buffers["internal"], buffers["program_state"]
        self._asks = self._internal[_ASKS]
        self._steps = 0
        if room["contents"] is None:
            read_only(game)

    def reset(self, core: int, display: int) -> NDArray[np.uint8]:
        """Begin the episode that NetHack's two seeds determine."""
        self._steps = 0
        self._nethack.set_initial_seeds(core, display, False, None)
        self._nethack.reset()
        for _ in range(_PROMPTS):
            if self._program_state[_IN_MOVELOOP]:
                chars: NDArray[np.uint8] = self._chars
                return chars
            self._nethack.step(ord(" "))
        raise RuntimeError(f"NetHack with the seeds {core}, {display} has not begun after {_PROMPTS} prompts")

    def step(self, action: int) -> Transition:
        """Act. A time limit terminates the episode, even on the stairs."""
        before = self._blstats[nethack.NLE_BL_TIME]
        self._nethack.step(self._keys[action])
        done = self._nethack.done()
        if not done and np.count_nonzero(self._asks):  # `any` takes four times as long
            _, done = self._game._perform_known_steps(self._game.nethack._obs, done, exceptions=True)
        self._steps += 1
        late = self._steps >= self._limit
        success = not (done or late) and bool(self._internal[_ON_STAIRS_DOWN])
        reward = (_WIN if success else 0.0) + (_FROZEN if self._blstats[nethack.NLE_BL_TIME] == before else 0.0)
        if (late or success) and not done:
            self._game._quit_game(self._game.nethack._obs, done)
            done = True
        return Transition(self._chars, reward, done, False, success)


def read_only(game: Any) -> None:
    """Let NetHack fill only the observations that are read: right only where no object can lie."""
    buffers = game.nethack._obs_buffers
    game.nethack._pynethack.set_buffers(**{key: buffers[key] for key in _READ})
