"""MuJoCo's tasks beside Gymnasium's own, number for number: all of one stepped by one call, and each by itself."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from numpy.random import SeedSequence

from grownn_hpo.envs import VectorEnv, describe, play
from grownn_hpo.envs.generic import GymnasiumEnv
from grownn_hpo.envs.interface import Single
from grownn_hpo.envs.mujoco import MuJoCoTeam, _including
from grownn_hpo.envs.team import OneByOne, together
from grownn_hpo.envs.vector import Episode, Purpose, episode_seeds
from grownn_hpo.spec import Vector

pytestmark = pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")

TASKS = ("Ant-v4", "HalfCheetah-v4", "Hopper-v4", "InvertedPendulum-v4", "Walker2d-v4")
SEED = 3


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its warnings (HalfCheetah's model alone makes one) to a log in the folder where it runs."""
    monkeypatch.chdir(tmp_path)


def gymnasium_seed(seeds: SeedSequence) -> int:
    return int(seeds.generate_state(1)[0] >> 1)


def native(actions: Any, space: Any) -> Any:
    """Gymnasium's own form of the actions, which it does not clip."""
    return np.clip(actions, space.low, space.high).astype(np.float32)


class Beside:
    """Environments of ours, stepped by one call, and as many of Gymnasium's, with the same seeds and actions."""

    def __init__(self, env: str, kwargs: dict[str, Any], n: int) -> None:
        self.plain: list[Any] = [gymnasium.make(env, **kwargs) for _ in range(n)]
        self.ours = VectorEnv(env, kwargs, n, SEED)
        assert isinstance(self.ours._team, MuJoCoTeam)
        self.batch = self.ours._team._batch
        self.space = self.plain[0].action_space
        self.episode = [0] * n
        self.tallies = [(0.0, 0)] * n
        self.terminated = self.truncated = 0
        self.reset()

    def reset(self) -> None:
        observations = self.ours.reset()
        for index in range(len(self.plain)):
            np.testing.assert_array_equal(observations[index], self.begun(index))

    def begun(self, index: int) -> Any:
        seeds = episode_seeds(SEED, Purpose.TRAINING, index, self.episode[index])
        self.episode[index] += 1
        self.tallies[index] = 0.0, 0
        return self.plain[index].reset(seed=gymnasium_seed(seeds))[0].astype(np.float32)

    def hurl(self, index: int, speeds: Any) -> None:
        self.plain[index].unwrapped.data.qvel[:] = speeds
        self.batch.bind("qvel")[index] = speeds

    @np.errstate(all="ignore")  # for the simulations that blow up
    def step(self, actions: Any) -> None:
        step = self.ours.step(actions)
        episodes = []
        for index, plain in enumerate(self.plain):
            shown, reward, terminated, truncated, _ = plain.step(native(actions[index], self.space))
            shown, (total, length) = shown.astype(np.float32), self.tallies[index]
            self.tallies[index] = total, length = total + float(reward), length + 1
            self.terminated += terminated
            self.truncated += truncated
            np.testing.assert_array_equal(step.rewards[index], reward)
            assert (step.terminated[index], step.truncated[index]) == (terminated, truncated)
            if terminated or truncated:
                np.testing.assert_array_equal(step.final_observations.pop(index), shown)
                episodes.append(Episode(index, total, length, None))
                shown = self.begun(index)
            np.testing.assert_array_equal(step.observations[index], shown)
            # In float64: all that later steps depend on.
            task, state = plain.unwrapped, np.empty(self.batch.nstate)
            mujoco.mj_getState(task.model, task.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
            np.testing.assert_array_equal(self.batch.state[index], state)
        assert step.final_observations == {}
        np.testing.assert_equal(step.episodes, tuple(episodes))

    def close(self) -> None:
        for plain in self.plain:
            plain.close()
        self.ours.close()


@pytest.mark.parametrize("env", TASKS)
def test_steps_are_gymnasiums(env: str) -> None:
    """Over thousands of steps, with gentle actions and with ones beyond the bounds, which keep no task upright long."""
    beside = Beside(env, {}, 3)
    generator = np.random.default_rng(0)
    for number in range(1050):
        wild = 1.6 if number % 300 < 150 else 0.1
        actions = generator.uniform(-wild, wild, (3, len(beside.space.high))) * beside.space.high
        # Of any type, and in any order in memory.
        beside.step((actions, actions.astype(np.float32), np.asfortranarray(actions, np.float32))[number % 3])
    assert beside.terminated >= (0 if env == "HalfCheetah-v4" else 12)
    assert beside.truncated >= (3 if env == "HalfCheetah-v4" else 0)
    beside.close()


@pytest.mark.parametrize("env", TASKS)
@pytest.mark.parametrize("n", [1, 2])
def test_a_time_limit_ends_both(env: str, n: int) -> None:
    beside = Beside(env, {"max_episode_steps": 4}, n)
    for number in range(14):
        if number == 6:
            beside.reset()  # in the middle of an episode
        beside.step(np.zeros((n, len(beside.space.low)), np.float32))
    assert beside.truncated == 3 * n
    beside.close()


@pytest.mark.parametrize("env", TASKS)
def test_a_simulation_that_blows_up_does_so_in_both_and_in_no_other(env: str) -> None:
    """MuJoCo starts anew when its numbers become absurd; before that they can be so once, in an env step's end."""
    beside = Beside(env, {}, 3)
    speeds, actions = beside.batch.bind("qvel").shape[1], len(beside.space.low)
    generator = np.random.default_rng(1)
    calm = [40.0, 1e9, np.nan]
    wild = [10 ** generator.uniform(1, 10) * generator.standard_normal(speeds) for _ in range(60)]
    for hurled in [*calm, *wild]:
        beside.reset()
        beside.hurl(1, hurled)
        for _ in range(3):
            beside.step(generator.uniform(-1, 1, (3, actions)))
    assert beside.batch.warning[1].any()
    assert not beside.batch.warning[[0, 2]].any()
    beside.close()


def test_numbers_too_large_for_float32_are_infinite(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have been seen in the last time step before MuJoCo starts anew, which not every machine takes to them."""
    with VectorEnv("HalfCheetah-v4", {}, 2, SEED) as vector:
        assert isinstance(vector._team, MuJoCoTeam)
        batch = vector._team._batch

        def blow_up(*_: Any) -> None:
            batch.qpos[1, 0], batch.qvel[1] = np.inf, 1e300

        monkeypatch.setattr(batch, "step", blow_up)
        vector.reset()
        one, other = (vector.step(np.zeros((2, 6))) for _ in range(2))
    assert np.isposinf(one.observations[1, 8:]).all()
    assert (one.rewards[1], np.isnan(other.rewards[1])) == (np.inf, True)
    assert np.isfinite(one.observations[0]).all()
    assert np.isfinite(other.rewards[0])


@pytest.mark.parametrize("env", TASKS)
def test_every_episode_of_an_evaluation_is_played_as_if_alone(env: str) -> None:
    """While others, which have ended, are stepped no more."""
    kwargs = {"max_episode_steps": 70}
    plain: Any = gymnasium.make(env, **kwargs)
    space = plain.action_space

    def act(observations: Any) -> Any:
        """Exact for each number, so that it does not matter beside which others it is computed."""
        return (np.resize(observations.T, (len(space.low), len(observations))).T * 7) % 3 - 1.5

    def alone(number: int) -> tuple[float, int]:
        shown, _ = plain.reset(seed=gymnasium_seed(episode_seeds(SEED, Purpose.EVALUATION, 2, number)))
        total, length, over = 0.0, 0, False
        while not over:
            action = native(act(shown.astype(np.float32)[None])[0], space)
            shown, reward, terminated, truncated, _ = plain.step(action)
            total, length, over = total + float(reward), length + 1, terminated or truncated
        return total, length

    returns, lengths = zip(*map(alone, range(8)), strict=True)
    assert len(set(lengths)) > (0 if env == "HalfCheetah-v4" else 1)
    for n in (1, 3, 10):
        with VectorEnv(env, kwargs, n, SEED) as vector:
            played = play(act, vector, 8, 2)
        assert (played.returns, played.lengths, played.successes) == (returns, lengths, (None,) * 8)
    plain.close()


def test_an_environment_left_out_of_a_step_goes_on_from_where_it_was() -> None:
    """Also one that has just begun: what it is paid for next is the way from its own start."""
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (6, 8))
    with VectorEnv("Ant-v4", {}, 2, SEED) as vector:
        vector.reset()
        abreast = [vector.advance(actions[[k, k]]).rewards[1] for k in range(6)]
    with VectorEnv("Ant-v4", {}, 2, SEED) as vector:
        vector.reset()
        apart = []
        for k in range(6):
            vector.advance(actions[:1], np.array([0]))
            apart.append(vector.advance(actions[[k]], np.array([1])).rewards[0])
        assert vector.tally(1) == (sum(abreast), 6)
    assert apart == abreast


def test_bounds_that_include_their_ends() -> None:
    low, high = _including(0.2, 1.0)
    assert low < 0.2 < 1.0 < high
    assert (np.nextafter(0.2, -1), np.nextafter(1.0, 2)) == (low, high)


def test_what_all_of_them_hold_is_freed_when_they_are_closed() -> None:
    vector = VectorEnv("Hopper-v4", {}, 2, SEED)
    assert isinstance(vector._team, MuJoCoTeam)
    batch = weakref.ref(vector._team._batch)
    vector.close()
    assert batch() is None
    vector.close()


class Pair:
    """One task twice: a plain `gymnasium.make` and ours by itself, reset with the same seeds."""

    def __init__(self, env: str, kwargs: dict[str, Any]) -> None:
        self.plain: Any = gymnasium.make(env, **kwargs)
        self.ours = GymnasiumEnv(env, kwargs)
        self.episode = 0
        self.begin()

    def begin(self) -> None:
        seeds = SeedSequence(self.episode)
        shown, _ = self.plain.reset(seed=gymnasium_seed(seeds))
        np.testing.assert_array_equal(self.ours.reset(seeds), shown.astype(np.float32))
        self.episode += 1

    def step(self, action: Any) -> None:
        seen = self.ours.step(action)
        shown, reward, terminated, truncated, _ = self.plain.step(native(action, self.plain.action_space))
        # The simulation itself, in float64, then what an agent is given of it.
        np.testing.assert_array_equal(self.state(self.ours._env), self.state(self.plain))
        np.testing.assert_array_equal(seen.observation, shown.astype(np.float32))
        assert seen[1:] == (reward, terminated, truncated, None)
        if terminated or truncated:
            self.begin()

    def state(self, env: Any) -> Any:
        return np.concatenate([env.unwrapped.data.qpos, env.unwrapped.data.qvel, env.unwrapped.data.qacc_warmstart])

    def close(self) -> None:
        self.plain.close()
        self.ours.close()


OTHERS: list[tuple[str, dict[str, Any]]] = [
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
]


@pytest.mark.parametrize(("env", "kwargs"), [*((env, {}) for env in TASKS), *OTHERS])
def test_by_itself_a_task_steps_as_gymnasiums(env: str, kwargs: dict[str, Any]) -> None:
    """With its simulation spared what it can be."""
    pair = Pair(env, kwargs)
    generator = np.random.default_rng(0)
    for _ in range(200):
        pair.step(generator.uniform(-2, 2, len(pair.plain.action_space.low)).astype(np.float32))
    pair.close()


class Foreign:
    """Somebody's own environment around one of ours."""

    def __init__(self, single: Single) -> None:
        self.spaces, self.action_names = single.spaces, single.action_names
        self.reset, self.step, self.close = single.reset, single.step, single.close


def ant(**kwargs: Any) -> Single:
    return GymnasiumEnv("Ant-v4", kwargs)


def drawn() -> Single:
    return GymnasiumEnv("Ant-v4", {}, pictures=True)


@pytest.mark.parametrize(
    "build",
    [
        *(lambda env=env, kwargs=kwargs: [GymnasiumEnv(env, kwargs)] * 2 for env, kwargs in OTHERS),
        lambda: [GymnasiumEnv("CartPole-v1", {}), ant()],
        lambda: [ant(), GymnasiumEnv("Hopper-v4", {})],
        lambda: [ant(), ant(max_episode_steps=9)],
        lambda: [ant(), ant(use_contact_forces=True)],
        lambda: [drawn(), drawn()],
        lambda: [ant(), drawn()],
        lambda: [ant(), Foreign(ant())],
        lambda: [Foreign(ant()), ant()],
        lambda: [Foreign(ant()), Foreign(ant())],
    ],
)
def test_all_but_plain_ones_of_one_task_are_stepped_one_by_one(build: Callable[[], list[Single]]) -> None:
    team = together(build())
    assert isinstance(team, OneByOne)
    team.close()


def test_a_task_that_was_registered_with_other_settings_is_another() -> None:
    gymnasium.register(
        "FeelingAnt-v0", "gymnasium.envs.mujoco.ant_v4:AntEnv", kwargs={"use_contact_forces": True}, max_episode_steps=9
    )
    try:
        with VectorEnv("FeelingAnt-v0", {}, 2, SEED) as vector:
            assert isinstance(vector._team, OneByOne)
            assert vector.reset().shape == (2, 111)
    finally:
        del gymnasium.registry["FeelingAnt-v0"]


def test_contact_forces_are_seen_when_asked_for() -> None:
    assert describe("Ant-v4", {"use_contact_forces": True}).observation == Vector(111)
