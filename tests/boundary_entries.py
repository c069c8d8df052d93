"""For the tests of boundaries: real attempts at segments that a real SIGKILL ends, and a task that goes wrong late."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from grownn_hpo import segment


def killed(payload: str, beat: Callable[[], None]) -> str:
    """An attempt that ends itself at its so-manieth beat: behind an update, an evaluation or a boundary."""
    order = json.loads(payload)
    left = order["beats"]

    def deadly() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        beat()

    return segment.attempt(order["job"], deadly)


class Edge(CartPoleEnv):  # type: ignore[misc]
    """CartPole whose reward is no number once the cart has come near the track's edge."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, math.nan if abs(observation[0]) > 0.18 else reward, terminated, truncated, info


gymnasium.register("Edge-v0", entry_point=Edge, max_episode_steps=500)
