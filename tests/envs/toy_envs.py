"""Small environments of known behaviour; `toy_envs:…` ids register them, as a user's module would."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Countdown(gymnasium.Env[Any, Any]):
    """Lasts as many steps as its seed says (1 to 19), pays 1 a step; truncated from 10 on, a success when even."""

    observation_space = spaces.Box(0, 20, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.lasts, self.passed = int(self.np_random.integers(1, 20)), 0
        return np.array([self.lasts, 0.0]), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.passed += 1
        over = self.passed == self.lasts
        observation = np.array([self.lasts, float(self.passed)])
        return (
            observation,
            1.0,
            over and self.lasts < 10,
            over and self.lasts >= 10,
            {"is_success": self.lasts % 2 == 0},
        )


class Echo(gymnasium.Env[Any, Any]):
    """Shows the action it was given, flattened, then whether its type and shape were the space's own; pays `pay`."""

    def __init__(self, shape: list[int], low: float | None, high: float | None, dtype: str, pay: str = "0") -> None:
        self.action_space = spaces.Box(
            -np.inf if low is None else low, np.inf if high is None else high, tuple(shape), np.dtype(dtype).type
        )
        self.pay = float(pay)
        self.observation_space = spaces.Box(-np.inf, np.inf, (int(np.prod(shape)) + 1,), np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(self.observation_space.shape), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        fits = action.dtype == self.action_space.dtype and action.shape == self.action_space.shape
        return np.append(np.asarray(action, np.float64).ravel(), float(fits)), self.pay, False, False, {}


class Counter(gymnasium.Env[Any, Any]):
    """Discrete all round, counted from -3 and from 5: shows the action as it came, less 5, plus -3."""

    observation_space = spaces.Discrete(4, start=-3)
    action_space = spaces.Discrete(4, start=5)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return -3, {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        return action - 5 - 3, 0.0, False, False, {}


class Shaped(Counter):
    """Any spaces, by name; never stepped."""

    def __init__(self, observation: str = "pixels", action: str = "choice") -> None:
        known: dict[str, spaces.Space[Any]] = {
            "pixels": spaces.Box(0, 255, (5, 7), np.uint8),
            "integers": spaces.Box(-3, 3, (2, 2), np.int64),
            "choice": spaces.Discrete(3),
            "dictionary": spaces.Dict({"a": spaces.Discrete(2)}),
            "choices": spaces.MultiDiscrete([2, 3]),
        }
        self.observation_space, self.action_space = known[observation], known[action]


class Broken(Countdown):
    """Raises at its second step; `closed` counts how many of it were closed."""

    closed = 0

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.passed == 1:
            raise OSError("the simulator is gone")
        self.lasts = 10
        return super().step(action)

    def close(self) -> None:
        type(self).closed += 1


class Needy(Countdown):
    """Cannot be built."""

    def __init__(self) -> None:
        raise gymnasium.error.DependencyNotInstalled("run `pip install moonlander`")


for env in (Countdown, Echo, Counter, Shaped, Broken, Needy):
    if f"{env.__name__}-v0" not in gymnasium.registry:
        gymnasium.register(f"{env.__name__}-v0", f"toy_envs:{env.__name__}")
if "MiniHack-Toy-v0" not in gymnasium.registry:  # not what its name says
    gymnasium.register("MiniHack-Toy-v0", lambda **kwargs: Countdown())
