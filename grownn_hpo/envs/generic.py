"""Any Gymnasium environment whose spaces are Box or Discrete."""

from __future__ import annotations

import importlib
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces as gym_spaces
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.envs import catalogue, mujoco
from grownn_hpo.envs.interface import Single, Team, Transition
from grownn_hpo.envs.simulation import keep_no_log, spare
from grownn_hpo.errors import GrowNNError
from grownn_hpo.spec import Continuous, Discrete, Spaces, Vector

_FLOAT32 = np.dtype(np.float32)


class GymnasiumEnv:
    """A Gymnasium environment: observations as float32 vectors, seeded at every reset by `reset(seed=)`.

    Non-finite observations and rewards are handed on as they are; training notices them and says at which step. A
    number too large for float32 becomes infinite. With `pictures` it can be drawn, which changes no episode.
    """

    def __init__(self, env: str, kwargs: Mapping[str, Any], pictures: bool = False) -> None:
        self._name = env
        keep_no_log(env)
        drawn = {"render_mode": "rgb_array"} if pictures else {}
        self._env = catalogue.make(env, {key: kwargs[key] for key in kwargs if key not in drawn}, **drawn)
        try:
            seen = _numeric(env, "observation", self._env.observation_space)
            acted = _numeric(env, "action", self._env.action_space)
        except BaseException:
            self._env.close()
            raise
        self.spaces = Spaces(_observation(seen), _action(acted))
        self.action_names = _action_names(acted)
        self._vector, self._native = _to_vector(seen), _to_native(acted)
        self._task, self._limit = _unwrapped(self._env)
        spare(self._task, kwargs)
        self._elapsed = 0

    def reset(self, seeds: SeedSequence) -> NDArray[np.float32]:
        self._elapsed = 0
        # 31 bits: what every environment takes, those in C that keep it in an int too.
        observation, _ = self._env.reset(seed=int(seeds.generate_state(1)[0] >> 1))
        return self._vector(observation)

    def step(self, action: NDArray[Any]) -> Transition:
        observation, reward, terminated, truncated, info = self._task.step(self._native(action))
        self._elapsed += 1
        success = info.get("is_success")
        return Transition(
            self._vector(observation),
            float(reward),
            bool(terminated),
            bool(truncated) or self._elapsed >= self._limit,
            None if success is None else bool(success),
        )

    def team(self, singles: Sequence[Single]) -> Team | None:
        """All of `singles` stepped by one call, where they are plain ones of a MuJoCo task that has it; else None."""
        plain = [single for single in singles if type(single) is GymnasiumEnv and single._limit == self._limit]
        if len(plain) < len(singles):
            return None
        return mujoco.team(singles, [single._task for single in plain], self._limit)

    @property
    def steps_per_second(self) -> float:
        """How fast the environment is to be shown, in env steps; 25 where it does not say."""
        return float(self._env.metadata.get("render_fps") or 25)

    def picture(self) -> NDArray[np.uint8]:
        """What the environment looks like now: uint8 [height, width, 3]. Only if built with `pictures`.

        Raises GrowNNError, with the drawing library's own words, where nothing can be drawn.
        """
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)  # pygame imports it
                _load_opengl(self._env.unwrapped)
                drawn = self._env.render()
        except Exception as error:  # OpenGL alone raises half a dozen kinds
            raise GrowNNError(
                f"{self._name} cannot be drawn: {type(error).__name__}: {error}; {_drawing_advice(self._env.unwrapped)}"
            ) from error
        if not (isinstance(drawn, np.ndarray) and drawn.ndim == 3 and drawn.shape[2] == 3):
            rule = "an environment that is to be seen must render as rgb_array, [height, width, 3]"
            raise GrowNNError(f"{self._name} cannot be drawn: it renders {type(drawn).__name__}: {rule}")
        return drawn.astype(np.uint8, copy=False)

    def close(self) -> None:
        self._env.close()


def _to_vector(space: gym_spaces.Box | gym_spaces.Discrete) -> Callable[[Any], NDArray[np.float32]]:
    """Turns the space's observations into vectors; those of a Box in float32 stay where they are."""
    if isinstance(space, gym_spaces.Discrete):
        size, start = int(space.n), int(space.start)

        def one_hot(observation: Any) -> NDArray[np.float32]:
            vector = np.zeros(size, np.float32)
            vector[int(observation) - start] = 1
            return vector

        return one_hot

    def flat(observation: Any) -> NDArray[np.float32]:
        seen = np.asarray(observation)
        if seen.dtype != _FLOAT32:
            with np.errstate(over="ignore"):
                seen = seen.astype(np.float32)
        return seen if seen.ndim == 1 else seen.reshape(-1)

    return flat


def _to_native(space: gym_spaces.Box | gym_spaces.Discrete) -> Callable[[NDArray[Any]], Any]:
    """Turns actions into the space's own, clipped to its bounds."""
    if isinstance(space, gym_spaces.Discrete):
        start = int(space.start)
        return lambda action: int(action) + start
    shape, low, high, dtype = space.shape, space.low, space.high, np.dtype(space.dtype)

    def clipped(action: NDArray[Any]) -> NDArray[Any]:
        native = np.minimum(np.maximum(action.reshape(shape), low), high)  # np.clip takes thrice as long
        whole = np.rint(native) if dtype.kind in "iu" else native
        typed: NDArray[Any] = whole.astype(dtype, copy=False)
        return typed

    return clipped


def _unwrapped(env: Any) -> tuple[Any, float]:
    """The environment below the two wrappers that `gymnasium.make` adds, and the env steps that they let it run.

    `GymnasiumEnv` counts the steps, and `VectorEnv` knows that a reset comes first. Other wrappers stay.
    """
    if type(env) is TimeLimit and type(env.env) is OrderEnforcing:
        return env.env.env, env._max_episode_steps
    return env, math.inf


def _numeric(env: str, which: str, space: gym_spaces.Space[Any]) -> gym_spaces.Box | gym_spaces.Discrete:
    if isinstance(space, (gym_spaces.Box, gym_spaces.Discrete)):
        return space
    raise catalogue.fault(
        env, f"its {which} space must be a Box or Discrete, and is {space}; wrap it, or choose another environment"
    )


def _observation(space: gym_spaces.Box | gym_spaces.Discrete) -> Vector:
    return Vector(int(space.n) if isinstance(space, gym_spaces.Discrete) else int(np.prod(space.shape)))


def _load_opengl(task: Any) -> None:
    """Have MuJoCo load what MUJOCO_GL names; where that fails, Gymnasium would leave half a viewer, which complains."""
    backend = os.environ.get("MUJOCO_GL")
    if backend and "mujoco" in type(task).__module__:
        importlib.import_module(f"mujoco.{backend}")


def _drawing_advice(task: Any) -> str:
    """What to do where a task cannot be drawn, as the end of a sentence."""
    if "mujoco" in type(task).__module__:
        return (
            f"MuJoCo draws with OpenGL, here with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: install Mesa's EGL"
            " (Debian: libegl1 libgl1-mesa-dri), or set MUJOCO_GL=osmesa (libosmesa6) or, with a screen, MUJOCO_GL=glfw"
        )
    return "if a package is missing: pip install 'grownn-hpo[video]' has what Gymnasium's classic control draws with"


def _action_names(space: gym_spaces.Box | gym_spaces.Discrete) -> tuple[str, ...]:
    if isinstance(space, gym_spaces.Discrete):
        return tuple(str(space.start + choice) for choice in range(space.n))
    return ()


def _action(space: gym_spaces.Box | gym_spaces.Discrete) -> Discrete | Continuous:
    if isinstance(space, gym_spaces.Discrete):
        return Discrete(int(space.n))
    return Continuous(tuple(map(float, space.low.flat)), tuple(map(float, space.high.flat)))
