"""The lean steps of MuJoCo's tasks beside Gymnasium's own, number for number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.random import SeedSequence

from grownn_hpo.envs import describe
from grownn_hpo.envs.generic import GymnasiumEnv
from grownn_hpo.envs.mujoco import lean_step
from grownn_hpo.spec import Vector

pytestmark = pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")

TASKS = ("Ant-v4", "HalfCheetah-v4", "Hopper-v4", "InvertedPendulum-v4", "Walker2d-v4")


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its warnings (HalfCheetah's model alone makes one) to a log in the folder where it runs."""
    monkeypatch.chdir(tmp_path)


class Pair:
    """One task twice: a plain `gymnasium.make` and ours, reset with the same seeds and given the same actions."""

    def __init__(self, env: str, kwargs: dict[str, Any]) -> None:
        self.plain: Any = gymnasium.make(env, **kwargs)
        self.ours = GymnasiumEnv(env, kwargs)
        self.lean = lean_step(self.ours._env.unwrapped, kwargs) is not None
        self.terminated = self.truncated = self.episode = 0
        self.begin()

    def begin(self) -> None:
        seeds = SeedSequence(self.episode)
        shown, _ = self.plain.reset(seed=int(seeds.generate_state(1)[0] >> 1))
        np.testing.assert_array_equal(self.ours.reset(seeds), shown.astype(np.float32))
        self.episode += 1

    def step(self, action: Any) -> None:
        seen = self.ours.step(action)
        space = self.plain.action_space
        shown, reward, terminated, truncated, _ = self.plain.step(np.clip(action, space.low, space.high))
        # The simulation itself, in float64, then what an agent is given of it.
        np.testing.assert_array_equal(self.state(self.ours._env), self.state(self.plain))
        np.testing.assert_array_equal(seen.observation, shown.astype(np.float32))
        assert seen[1:] == (reward, terminated, truncated, None)
        self.terminated += terminated
        self.truncated += truncated
        if terminated or truncated:
            self.begin()

    def state(self, env: Any) -> Any:
        return np.concatenate([env.unwrapped.data.qpos, env.unwrapped.data.qvel, env.unwrapped.data.qacc_warmstart])

    def close(self) -> None:
        self.plain.close()
        self.ours.close()


@pytest.mark.parametrize("env", TASKS)
def test_steps_are_gymnasiums(env: str) -> None:
    """Over thousands of steps, with gentle actions and with ones beyond the bounds, which keep no task upright long."""
    pair = Pair(env, {})
    assert pair.lean
    generator = np.random.default_rng(0)
    size = len(pair.plain.action_space.low)
    for number in range(2500):
        wild = 1.6 if number % 500 < 250 else 0.1
        pair.step((generator.uniform(-wild, wild, size) * pair.plain.action_space.high).astype(np.float32))
    assert pair.terminated >= (0 if env == "HalfCheetah-v4" else 8)
    assert pair.truncated >= (2 if env == "HalfCheetah-v4" else 0)
    pair.close()


@pytest.mark.parametrize("env", TASKS)
def test_a_time_limit_ends_both(env: str) -> None:
    pair = Pair(env, {"max_episode_steps": 4})
    assert pair.lean
    for _ in range(12):
        pair.step(np.zeros(len(pair.plain.action_space.low), np.float32))
    assert pair.truncated == 3
    pair.close()


@pytest.mark.parametrize("env", TASKS)
@pytest.mark.parametrize("speed", [40.0, 1e9, np.nan])
def test_a_simulation_that_blows_up_does_so_in_both(env: str, speed: float) -> None:
    """MuJoCo starts anew when its numbers become absurd."""
    pair = Pair(env, {})
    for one in (pair.plain, pair.ours._env):
        one.unwrapped.data.qvel[:] = speed
    for _ in range(3):
        pair.step(np.zeros(len(pair.plain.action_space.low), np.float32))
    pair.close()


@pytest.mark.parametrize(
    ("env", "kwargs"),
    [
        ("Ant-v4", {"use_contact_forces": True}),
        ("Ant-v4", {"terminate_when_unhealthy": False, "max_episode_steps": 60}),
        ("Hopper-v4", {"exclude_current_positions_from_observation": False}),
        ("HalfCheetah-v4", {"ctrl_cost_weight": 0.3}),
        ("Humanoid-v4", {}),
        ("Ant-v5", {}),  # sees contact forces
        ("HalfCheetah-v5", {}),
        ("Humanoid-v5", {}),
        ("Pusher-v5", {}),
        ("Swimmer-v5", {}),
        ("CartPole-v1", {}),
    ],
)
def test_other_settings_and_tasks_keep_gymnasiums_own_step(env: str, kwargs: dict[str, Any]) -> None:
    """Their simulation is spared what it can be, all the same."""
    pair = Pair(env, kwargs)
    assert not pair.lean
    if env != "CartPole-v1":
        generator = np.random.default_rng(0)
        for _ in range(300):
            pair.step(generator.uniform(-1, 1, len(pair.plain.action_space.low)).astype(np.float32))
    pair.close()


def test_contact_forces_are_seen_when_asked_for() -> None:
    assert describe("Ant-v4", {"use_contact_forces": True}).observation == Vector(111)
