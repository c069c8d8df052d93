"""Generalised advantage estimation (Schulman et al. 2016, equations 11 to 16).

`T` is the number of steps, `N` the number of environments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def gae(
    rewards: NDArray[Any],
    values: NDArray[Any],
    next_values: NDArray[Any],
    ended: NDArray[np.bool_],
    gamma: float,
    gae_lambda: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Advantages and returns (the targets for the value function), float32 [T, N] each, from arrays [T, N].

    `next_values[t]` is the value of the state that step t led to, within its episode: 0 where the episode terminated,
    that of its final observation where it was truncated, `values[t + 1]` where it went on. `ended` marks the last step
    of an episode, however it ended; no advantage flows back across it.
    """
    errors = rewards + gamma * next_values.astype(np.float64) - values
    decay = gamma * gae_lambda * ~ended
    advantages = np.empty(rewards.shape)
    following = np.zeros(rewards.shape[1])
    for t in range(len(rewards) - 1, -1, -1):
        following = errors[t] + decay[t] * following
        advantages[t] = following
    return advantages.astype(np.float32), (advantages + values).astype(np.float32)
