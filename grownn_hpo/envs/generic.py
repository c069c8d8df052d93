"""Any Gymnasium environment whose spaces are Box or Discrete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces as gym_spaces
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.envs import catalogue
from grownn_hpo.envs.interface import Transition
from grownn_hpo.spec import Continuous, Discrete, Spaces, Vector


class GymnasiumEnv:
    """A Gymnasium environment: observations as float32 vectors, seeded at every reset by `reset(seed=)`.

    Non-finite observations and rewards are handed on as they are; training notices them and says at which step. A
    number too large for float32 becomes infinite.
    """

    def __init__(self, env: str, kwargs: Mapping[str, Any]) -> None:
        self._env = catalogue.make(env, kwargs)
        try:
            self._seen = _numeric(env, "observation", self._env.observation_space)
            self._acted = _numeric(env, "action", self._env.action_space)
        except BaseException:
            self._env.close()
            raise
        self.spaces = Spaces(_observation(self._seen), _action(self._acted))

    def reset(self, seeds: SeedSequence) -> NDArray[np.float32]:
        # 31 bits: what every environment takes, those in C that keep it in an int too.
        observation, _ = self._env.reset(seed=int(seeds.generate_state(1)[0] >> 1))
        return self._vector(observation)

    def step(self, action: NDArray[Any]) -> Transition:
        observation, reward, terminated, truncated, info = self._env.step(self._native(action))
        success = info.get("is_success")
        return Transition(
            self._vector(observation),
            float(reward),
            bool(terminated),
            bool(truncated),
            None if success is None else bool(success),
        )

    def close(self) -> None:
        self._env.close()

    def _vector(self, observation: Any) -> NDArray[np.float32]:
        if isinstance(self._seen, gym_spaces.Discrete):
            one_hot = np.zeros(int(self._seen.n), np.float32)
            one_hot[int(observation) - int(self._seen.start)] = 1
            return one_hot
        with np.errstate(over="ignore"):
            return np.asarray(observation).astype(np.float32).reshape(-1)

    def _native(self, action: NDArray[Any]) -> Any:
        if isinstance(self._acted, gym_spaces.Discrete):
            return int(action) + int(self._acted.start)
        box = self._acted
        native = np.minimum(np.maximum(action.reshape(box.shape), box.low), box.high)  # np.clip takes thrice as long
        if box.dtype is not None and box.dtype.kind in "iu":
            native = np.rint(native)
        return native.astype(box.dtype)


def _numeric(env: str, which: str, space: gym_spaces.Space[Any]) -> gym_spaces.Box | gym_spaces.Discrete:
    if isinstance(space, (gym_spaces.Box, gym_spaces.Discrete)):
        return space
    raise catalogue.fault(
        env, f"its {which} space must be a Box or Discrete, and is {space}; wrap it, or choose another environment"
    )


def _observation(space: gym_spaces.Box | gym_spaces.Discrete) -> Vector:
    return Vector(int(space.n) if isinstance(space, gym_spaces.Discrete) else int(np.prod(space.shape)))


def _action(space: gym_spaces.Box | gym_spaces.Discrete) -> Discrete | Continuous:
    if isinstance(space, gym_spaces.Discrete):
        return Discrete(int(space.n))
    return Continuous(tuple(map(float, space.low.flat)), tuple(map(float, space.high.flat)))
