"""CartPole in which, once or always, something goes badly wrong: the variable UNLUCKY says what, and where to count.

`UNLUCKY=what:times:folder`: `times` processes do `what` at their hundredth step, or at that of the number in
UNLUCKY_STEP; files in `folder` count them. Those that `halt` leave a file with their number there, and go on once it
holds no file `halt`. UNLUCKY_SCALE multiplies every reward.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

SCALE = float(os.environ.get("UNLUCKY_SCALE", "1"))
STEP = int(os.environ.get("UNLUCKY_STEP", "100"))
steps = 0


def misfortune() -> float | None:
    """A reward to give instead, or None; most misfortunes do not return."""
    what, times, folder = os.environ["UNLUCKY"].split(":")
    for number in range(int(times)):
        try:
            Path(folder, f"unlucky-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        break
    else:
        return None
    if what == "halt":
        Path(folder, f"halted-{os.getpid()}").touch()
        while Path(folder, "halt").exists():
            time.sleep(0.02)
        return None
    if what == "raise":
        raise RuntimeError("the cart fell off the table")
    if what == "segfault":
        ctypes.string_at(0)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sleep":
        time.sleep(1000)
    if what == "spin":  # holds the GIL
        ctypes.PyDLL(None).sleep(1000)
    if what == "memory":
        hoard = [bytearray(64 * 2**20) for _ in range(64)]
        time.sleep(1000 + len(hoard))
    return float(what)


class Unlucky(CartPoleEnv):  # type: ignore[misc]
    def step(self, action: Any) -> Any:
        global steps
        steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        if steps == STEP and "UNLUCKY" in os.environ and (instead := misfortune()) is not None:
            reward = instead
        return observation, reward * SCALE, terminated, truncated, info


gymnasium.register("Unlucky-v0", entry_point=Unlucky, max_episode_steps=500)
