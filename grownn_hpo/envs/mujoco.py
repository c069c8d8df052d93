"""Gymnasium's MuJoCo v4 tasks: all environments of one stepped by one call, number for number as each by itself.

Gymnasium's task starts every episode. Its simulation then goes on as a row of a `mujoco.batch.Batch`, and what `step`
makes of it is computed for all rows at once. What `step` does beside is left out: the contact forces
(`mj_rnePostConstraint`: no later step reads them), the `info`, checks done twice. Each task's rules stand for the class
of its name in `gymnasium.envs.mujoco` at its default settings, where a weight of 1 is no factor, with its order of
floating-point operations; `tests/envs/test_env_mujoco.py` runs the two side by side.

Notation: `n` environments that act; the motion of one is its `P` positions, then its `V` speeds; `A` numbers of an
action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.envs.interface import Single, Team, Transitions

Bounds = tuple[float, float]
"""Numbers lie between the two, and are neither of them."""

_FINITE: Bounds = (-np.inf, np.inf)
_ONE = np.array(1)


@dataclass(frozen=True, slots=True)
class Rules:
    """What an env step of a task shows, pays, and ends.

    `hidden`: how many of the positions, from the first, are not shown. Speeds beyond `fastest` are shown as it.
    `place`: which of MuJoCo's data is the place along the track. If `forward`, a step pays the speed along it, then
    `survival`, less `control_cost` times the squared action; else `survival`.
    An episode goes on while the numbers of the motion from `judged` on lie within `bounds`, as many as these are.
    """

    hidden: int
    bounds: tuple[Bounds, ...]
    judged: int = 0
    place: tuple[str, tuple[int, ...]] = ("qpos", (0,))
    forward: bool = True
    survival: float | None = None
    control_cost: float = 0.0
    fastest: float = np.inf


def _ant(task: Any) -> Rules:
    """Its torso's place is computed at each time step's start: it is one behind the motion."""
    return Rules(
        hidden=2,
        bounds=(_FINITE, _FINITE, _including(*task._healthy_z_range), *[_FINITE] * 26),
        place=("xpos", (task.model.body("torso").id, 0)),
        survival=task._healthy_reward,
        control_cost=task._ctrl_cost_weight,
    )


def _half_cheetah(task: Any) -> Rules:
    return Rules(hidden=1, bounds=(), control_cost=task._ctrl_cost_weight)


def _hopper(task: Any) -> Rules:
    angle, rest = task._healthy_angle_range, task._healthy_state_range
    return _runner(task, task._healthy_z_range, (max(angle[0], rest[0]), min(angle[1], rest[1])), *[rest] * 9)


def _walker2d(task: Any) -> Rules:
    return _runner(task, task._healthy_z_range, task._healthy_angle_range)


def _runner(task: Any, *bounds: Bounds) -> Rules:
    """What the hopper and the walker share."""
    return Rules(
        hidden=1,
        bounds=bounds,
        judged=1,
        survival=task._healthy_reward,
        control_cost=task._ctrl_cost_weight,
        fastest=10.0,
    )


def _inverted_pendulum(task: Any) -> Rules:
    return Rules(hidden=0, bounds=(_FINITE, _including(-0.2, 0.2), _FINITE, _FINITE), forward=False, survival=1.0)


def _including(low: float, high: float) -> Bounds:
    """Between these are all numbers of float64 from `low` to `high`, and no other."""
    return float(np.nextafter(low, -np.inf)), float(np.nextafter(high, np.inf))


_TASKS: Mapping[str, Callable[[Any], Rules]] = {
    "gymnasium.envs.mujoco.ant_v4:AntEnv": _ant,
    "gymnasium.envs.mujoco.half_cheetah_v4:HalfCheetahEnv": _half_cheetah,
    "gymnasium.envs.mujoco.hopper_v4:HopperEnv": _hopper,
    "gymnasium.envs.mujoco.inverted_pendulum_v4:InvertedPendulumEnv": _inverted_pendulum,
    "gymnasium.envs.mujoco.walker2d_v4:Walker2dEnv": _walker2d,
}


def team(singles: Sequence[Single], tasks: Sequence[Any], limit: float) -> Team | None:
    """The team of environments whose unwrapped Gymnasium tasks are `tasks`; episodes are cut after `limit` env steps.

    None unless all are of one of the tasks above, not drawn, and at its default settings: contact forces, say, are
    Gymnasium's.
    """
    kind = type(tasks[0])
    rules = _TASKS.get(f"{kind.__module__}:{kind.__qualname__}")
    if rules is None or any(type(task) is not kind or task.spec.kwargs or task.render_mode for task in tasks):
        return None
    return MuJoCoTeam(rules(tasks[0]), singles, tasks, limit)


class _Rows(NamedTuple):
    """What is read of the environments after a time step, a row each."""

    shown: NDArray[np.float64]  # of the motion
    judged: NDArray[np.float64]
    place: NDArray[np.float64]
    place_before: NDArray[np.float64]
    elapsed: NDArray[np.int64]  # env steps of the episode before this one

    def of(self, indices: NDArray[np.intp]) -> _Rows:
        shown, judged, place, place_before, elapsed = self
        return _Rows(shown[indices], judged[indices], place[indices], place_before[indices], elapsed[indices])


class MuJoCoTeam:
    """Environments of one task; make one with `team`.

    Where the numbers of one become absurd, MuJoCo warns and starts that one anew, as ever.
    """

    def __init__(self, rules: Rules, singles: Sequence[Single], tasks: Sequence[Any], limit: float) -> None:
        # Not sooner: a process that steps no such environment is spared them.
        from mujoco import mj_getState, mj_stateSize, mjtState
        from mujoco.batch import Batch

        task, model, n = tasks[0], tasks[0].model, len(tasks)
        self._rules, self._singles, self._task, self._frames = rules, list(singles), task, task.frame_skip
        self._batch = batch = Batch(model, n, nthread=1)
        # A row of the state is all that a time step depends on: the time, the motion, and the rest.
        self._get_state, self._whole = mj_getState, mjtState.mjSTATE_INTEGRATION.value
        begin = mj_stateSize(model, mjtState.mjSTATE_TIME)
        motion, (name, entry) = batch.state[:, begin : begin + model.nq + model.nv], rules.place
        self._ctrl = batch.bind("ctrl")
        self._all = _Rows(
            shown=motion[:, rules.hidden :],
            judged=motion[:, rules.judged : rules.judged + len(rules.bounds)],
            place=batch.bind(name)[(slice(None), *entry)],
            place_before=np.zeros(n),
            elapsed=np.zeros(n, np.int64),
        )
        self._speeds = slice(model.nq - rules.hidden, None)  # of what is shown
        # NumPy takes half as long over bounds for each row as over one row's, and over these arrays of no dimension as
        # over Python's numbers.
        self._low, self._high = np.tile(task.action_space.low, (n, 1)), np.tile(task.action_space.high, (n, 1))
        self._least, self._most = np.array(rules.bounds, np.float64).reshape(-1, 2).T
        self._dt, self._survival, self._limit = np.array(task.dt), np.array(rules.survival or 0.0), np.array(limit)
        self._control_cost = np.array(rules.control_cost, np.float32)  # as Gymnasium's: the action's own type
        self._fastest = np.array(rules.fastest, np.float32)
        # Where NumPy says nothing of a simulation that blew up. Entering `np.errstate` costs 5 us after a simulation.
        self._quiet = copy_context()
        self._quiet.run(np.seterr, all="ignore")

    def reset(self, index: int, seeds: SeedSequence) -> NDArray[Any]:
        # The first of them begins everyone's episodes: they are the seeds' alone, and its memory is at hand.
        observation, task = self._singles[0].reset(seeds), self._task
        self._get_state(task.model, task.data, self._batch.state[index], self._whole)
        self._batch.warning[index] = 0  # as MuJoCo's own reset does, or it would warn of the first episode alone
        name, entry = self._rules.place
        self._all.place_before[index] = getattr(task.data, name)[entry]
        self._all.elapsed[index] = 0
        return observation

    def step(self, actions: NDArray[Any], indices: NDArray[np.intp] | None) -> Transitions:
        return self._quiet.run(self._step, actions, indices)

    def _step(self, actions: NDArray[Any], indices: NDArray[np.intp] | None) -> Transitions:
        n, these = len(actions), slice(None) if indices is None else indices
        # In C's order each row is summed up below as if it were alone. np.clip takes thrice as long.
        clipped = np.minimum(np.maximum(actions, self._low[:n], order="C"), self._high[:n])
        controls = clipped.astype(np.float32, copy=False)
        self._ctrl[these] = controls
        self._batch.step(indices, self._frames)
        rows = self._all if indices is None else self._all.of(indices)
        observations = rows.shown.astype(np.float32)
        rewards = self._rewards(rows, controls)
        if self._rules.fastest < np.inf:
            speeds = observations[:, self._speeds]
            np.minimum(np.maximum(speeds, -self._fastest, out=speeds), self._fastest, out=speeds)
        goes_on = np.logical_and.reduce((self._least < rows.judged) & (rows.judged < self._most), axis=1)
        elapsed = rows.elapsed + _ONE
        self._all.place_before[these], self._all.elapsed[these] = rows.place, elapsed
        return Transitions(observations, rewards, ~goes_on, elapsed >= self._limit, [None] * n)

    def close(self) -> None:
        while self._singles:
            self._singles.pop().close()

    def _rewards(self, rows: _Rows, controls: NDArray[np.float32]) -> NDArray[np.float64]:
        if not self._rules.forward:
            return np.full(len(controls), self._survival)
        rewards: NDArray[np.float64] = (rows.place - rows.place_before) / self._dt
        if self._rules.survival is not None:
            rewards += self._survival
        rewards -= self._control_cost * np.add.reduce(controls * controls, axis=1)
        return rewards
