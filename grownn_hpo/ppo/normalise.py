"""Running normalisation of observations and scaling of rewards, as Stable-Baselines3's VecNormalize.

`N` is the number of environments, `S` the shape of one value. Statistics are float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLIP = 10.0
_EPSILON = 1e-8

Array = NDArray[Any]


@dataclass(slots=True)
class RunningMoments:
    """Mean and (biased) variance [S] of all values seen, starting as 0 and 1 with the weight of 1e-4 values."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    count: float = 1e-4

    @classmethod
    def of_shape(cls, *shape: int) -> RunningMoments:
        return cls(np.zeros(shape), np.ones(shape))

    def update(self, batch: Array) -> None:
        """Take in a batch [N, S] (Chan et al. 1979, parallel variance)."""
        batch = batch.astype(np.float64, copy=False)
        n = len(batch)
        mean = batch.sum(0) / n
        centred = batch - mean
        delta = mean - self.mean
        total = self.count + n
        self.var = (
            self.var * self.count + (centred * centred).sum(0) + delta * delta * (self.count * n / total)
        ) / total
        self.mean = self.mean + delta * (n / total)
        self.count = total

    @property
    def deviation(self) -> NDArray[np.float64]:
        """What values are divided by [S]; never 0."""
        deviation: NDArray[np.float64] = np.sqrt(self.var + _EPSILON)
        return deviation

    def normalise(self, batch: Array) -> NDArray[np.float32]:
        """The batch [N, S] with mean 0 and variance 1, clipped to +-10; the statistics stay as they are."""
        scaled = (batch - self.mean) / self.deviation
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)


@dataclass(slots=True)
class RewardScaler:
    """Divides rewards by the running deviation of the discounted return."""

    gamma: float
    moments: RunningMoments
    returns: NDArray[np.float64]

    @classmethod
    def new(cls, gamma: float) -> RewardScaler:
        return cls(gamma, RunningMoments.of_shape(), np.zeros(0))

    def begin(self, n: int) -> None:
        """N episodes begin; the statistics stay."""
        self.returns = np.zeros(n)

    def scale(self, rewards: NDArray[np.float64], ended: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Take in rewards [N] of one step, and return them scaled and clipped to +-10; `ended` marks episodes' ends."""
        self.returns = self.returns * self.gamma + rewards
        self.moments.update(self.returns)
        self.returns[ended] = 0.0
        return np.clip(rewards / np.sqrt(self.moments.var + _EPSILON), -CLIP, CLIP)
