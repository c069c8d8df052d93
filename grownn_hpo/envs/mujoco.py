"""Steps of Gymnasium's MuJoCo v4 tasks, number for number theirs, without the work that nobody sees.

Gymnasium's task keeps the simulation and starts every episode. What its `step` does beside is left out: the contact
forces (`mj_rnePostConstraint`: no later step reads them), the `info`, checks done twice. Each function below stands for
the `step` of the class of its name in `gymnasium.envs.mujoco`, with its order of floating-point operations, at the
task's default settings; `tests/envs/test_env_mujoco.py` runs the two side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Action = NDArray[np.float32]
State = NDArray[np.float64]
GymStep = Callable[[Any], tuple[Any, Any, bool, bool, Mapping[str, Any]]]
"""What Gymnasium's `step` is: from an action to observation, reward, terminated, truncated, info."""

_NOTHING: Mapping[str, Any] = {}


def lean_step(task: Any, kwargs: Mapping[str, Any]) -> GymStep | None:
    """The lean `step` of an unwrapped Gymnasium environment that was built from `kwargs`; None if there is none.

    There is none for settings other than the defaults, the time limit excepted: contact forces, say, are Gymnasium's.
    """
    kind = type(task)
    make = _TASKS.get(f"{kind.__module__}:{kind.__qualname__}")
    return None if make is None or kwargs.keys() - {"max_episode_steps"} else make(task)


def _ant(task: Any) -> GymStep:
    simulate, state = _simulation(task), _state(task)
    torso, dt = task.data.body("torso").xpos, task.dt
    low, high = task._healthy_z_range

    def step(action: Action) -> tuple[State, np.float64, bool, bool, Mapping[str, Any]]:
        before = torso[0]
        simulate(action)
        now = state()
        healthy = low <= now[2] <= high and _finite(now)
        reward = (torso[0] - before) / dt + task._healthy_reward - _control_cost(task, action)
        return now[2:], reward, not healthy, False, _NOTHING

    return step


def _half_cheetah(task: Any) -> GymStep:
    simulate, state, dt, qpos = _simulation(task), _state(task), task.dt, task.data.qpos

    def step(action: Action) -> tuple[State, np.float64, bool, bool, Mapping[str, Any]]:
        before = qpos[0]
        simulate(action)
        reward = task._forward_reward_weight * ((qpos[0] - before) / dt) - _control_cost(task, action)
        return state()[1:], reward, False, False, _NOTHING

    return step


def _hopper(task: Any) -> GymStep:
    low, high = task._healthy_state_range

    def healthy(now: State) -> bool:
        return _upright(task, now) and bool(((low < now[2:]) & (now[2:] < high)).all())

    return _runner(task, healthy)


def _walker2d(task: Any) -> GymStep:
    return _runner(task, lambda now: _upright(task, now))


def _inverted_pendulum(task: Any) -> GymStep:
    simulate, state = _simulation(task), _state(task)

    def step(action: Action) -> tuple[State, float, bool, bool, Mapping[str, Any]]:
        simulate(action)
        now = state()
        return now, 1.0, not _finite(now) or bool(abs(now[1]) > 0.2), False, _NOTHING

    return step


def _runner(task: Any, healthy: Callable[[State], bool]) -> GymStep:
    """The step that the hopper and the walker share."""
    simulate, state, dt, qpos = _simulation(task), _state(task), task.dt, task.data.qpos

    def step(action: Action) -> tuple[State, np.float64, bool, bool, Mapping[str, Any]]:
        before = qpos[0]
        simulate(action)
        now = state()
        forward = task._forward_reward_weight * ((qpos[0] - before) / dt)
        reward = forward + task._healthy_reward - _control_cost(task, action)
        terminated = not healthy(now)  # judged before the speeds are clipped
        speeds = now[len(qpos) :]
        np.minimum(np.maximum(speeds, -10, out=speeds), 10, out=speeds)  # np.clip takes thrice as long
        return now[1:], reward, terminated, False, _NOTHING

    return step


def _upright(task: Any, now: State) -> bool:
    (low, high), (least, most) = task._healthy_z_range, task._healthy_angle_range
    return bool(low < now[1] < high and least < now[2] < most)


def _finite(numbers: State) -> bool:
    """Whether all are. A sum of squares takes a fifth of the time; where it is not finite, they are looked at."""
    return math.isfinite(numbers.dot(numbers)) or bool(np.isfinite(numbers).all())


def _control_cost(task: Any, action: Action) -> np.float32:
    """In float32, as Gymnasium's: the action's own type."""
    cost: np.float32 = task._ctrl_cost_weight * np.add.reduce(action * action)
    return cost


def _simulation(task: Any) -> Callable[[Action], None]:
    """Advances the simulation by an env step of `frame_skip` time steps."""
    from mujoco import mj_step

    model, data, ctrl, frames = task.model, task.data, task.data.ctrl, task.frame_skip

    def simulate(action: Action) -> None:
        ctrl[:] = action
        mj_step(model, data, frames)  # by name it takes half a microsecond more

    return simulate


def _state(task: Any) -> Callable[[], State]:
    """Reads a fresh array of all positions, then all speeds."""
    views = (task.data.qpos, task.data.qvel)
    return lambda: np.concatenate(views)


_TASKS: Mapping[str, Callable[[Any], GymStep]] = {
    "gymnasium.envs.mujoco.ant_v4:AntEnv": _ant,
    "gymnasium.envs.mujoco.half_cheetah_v4:HalfCheetahEnv": _half_cheetah,
    "gymnasium.envs.mujoco.hopper_v4:HopperEnv": _hopper,
    "gymnasium.envs.mujoco.inverted_pendulum_v4:InvertedPendulumEnv": _inverted_pendulum,
    "gymnasium.envs.mujoco.walker2d_v4:Walker2dEnv": _walker2d,
}
