from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import toy_envs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from numpy.typing import NDArray

from grownn_hpo.envs import VectorEnv
from grownn_hpo.envs.episodes import random_actions
from grownn_hpo.envs.vector import Purpose, episode_seeds


def gymnasium_seed(seed: int, env: int, episode: int) -> int:
    return int(episode_seeds(seed, Purpose.TRAINING, env, episode).generate_state(1)[0] >> 1)


@pytest.mark.parametrize(
    ("env", "steps"),
    # mujoco 4.0.0 is newer than what gymnasium 1.2.0 was written for: thousands of steps of the paper's Ant.
    [("CartPole-v1", 600), pytest.param("Ant-v4", 2000, marks=pytest.mark.filterwarnings("ignore:.*out of date"))],
)
def test_steps_are_the_plain_environments(env: str, steps: int) -> None:
    plain = [gymnasium.make(env) for _ in range(2)]
    episode = [0, 0]
    with VectorEnv(env, {}, 2, seed=5) as vector:
        act = random_actions(vector, np.random.default_rng(0))
        expected = [plain[i].reset(seed=gymnasium_seed(5, i, 0))[0] for i in range(2)]
        observations = vector.reset()
        assert observations.dtype == np.float32
        ended: list[tuple[int, float, int]] = []
        totals, lengths = [0.0, 0.0], [0, 0]
        for _ in range(steps):
            np.testing.assert_array_equal(observations, np.array(expected, np.float32))
            actions = act(observations)
            step = vector.step(actions)
            ended_now = []
            for i in range(2):
                native = actions[i] if actions.ndim == 1 else actions[i].astype(np.float32)
                shown, reward, terminated, truncated, _ = plain[i].step(native)
                totals[i] += float(reward)
                lengths[i] += 1
                assert step.rewards[i] == reward
                assert (step.terminated[i], step.truncated[i]) == (terminated, truncated)
                assert (i in step.final_observations) == (terminated or truncated)
                if terminated or truncated:
                    np.testing.assert_array_equal(step.final_observations[i], np.float32(shown))
                    ended_now.append((i, totals[i], lengths[i]))
                    totals[i], lengths[i] = 0.0, 0
                    episode[i] += 1
                    shown = plain[i].reset(seed=gymnasium_seed(5, i, episode[i]))[0]
                expected[i] = shown
            assert [(e.env, e.total, e.length) for e in step.episodes] == ended_now
            assert all(e.success is None for e in step.episodes)
            ended += ended_now
            observations = step.observations
    for one in plain:
        one.close()  # type: ignore[no-untyped-call]
    assert min(episode) >= 3
    assert len(ended) == sum(episode)


@given(seed=st.integers(0, 2**128 - 1), n=st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_an_environment_does_not_feel_its_neighbours(seed: int, n: int) -> None:
    def first_of(n: int) -> list[float]:
        with VectorEnv("toy_envs:Countdown-v0", {}, n, seed) as vector:
            seen = [float(vector.reset()[0, 0])]
            for _ in range(60):
                seen += vector.step(np.zeros(n, np.int64)).observations[0].tolist()
        return seen

    assert first_of(1) == first_of(n)


numbers = st.tuples(
    st.integers(0, 2**128 - 1), st.sampled_from(Purpose), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)
)


@given(numbers, numbers)
def test_every_episode_has_seeds_of_its_own(one: Any, other: Any) -> None:
    def words(seeds: SeedSequence) -> list[int]:
        return seeds.generate_state(4).tolist()

    assert (words(episode_seeds(*one)) == words(episode_seeds(*other))) == (one == other)


def test_numbers_that_only_look_alike_make_other_seeds() -> None:
    # As plain entropy, numpy would take these for one another: it pads with zeros and splits large numbers.
    alike = [(1, 0, 0), (1, 0, 1), (2**32 + 1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 1, 0), (2**32, 0, 0), (2**64, 0, 0)]
    states = {tuple(episode_seeds(s, Purpose.TRAINING, a, b).generate_state(4).tolist()) for s, a, b in alike}
    assert len(states) == len(alike)


def test_reset_goes_on_to_the_next_episode() -> None:
    def resets(seed: int) -> list[NDArray[Any]]:
        with VectorEnv("toy_envs:Countdown-v0", {}, 8, seed) as vector:
            return [vector.reset(), vector.reset()]

    first, second = resets(1)
    np.testing.assert_array_equal(resets(1), [first, second])
    assert not np.array_equal(resets(2)[0], first)
    assert not np.array_equal(first, second)


def test_a_steps_arrays_are_the_callers_to_keep() -> None:
    with VectorEnv("MiniHack-Room-Random-5x5-v0", {}, 2, seed=0) as vector:
        kept = vector.reset()
        copy = kept.copy()
        steps = [(step := vector.step(np.array([i % 8, 3])), step.observations.copy()) for i in range(40)]
    np.testing.assert_array_equal(kept, copy)
    assert kept.dtype == np.uint8
    for step, observations in steps:
        np.testing.assert_array_equal(step.observations, observations)
    assert any(not np.array_equal(kept, observations) for _, observations in steps)


def test_success_ends_and_tallies() -> None:
    with VectorEnv("toy_envs:Countdown-v0", {}, 3, seed=0) as vector:
        vector.reset()
        ended = []
        for _ in range(300):
            step = vector.step(np.zeros(3, np.int64))
            for e in step.episodes:
                assert (step.terminated[e.env], step.truncated[e.env]) == (e.length < 10, e.length >= 10)
                assert step.final_observations[e.env].tolist() == [e.length, e.length]
                assert (e.total, e.success) == (float(e.length), e.length % 2 == 0)
            ended += step.episodes
    assert {e.length for e in ended} == set(range(1, 20))


def test_discrete_spaces_that_do_not_count_from_0() -> None:
    with VectorEnv("toy_envs:Counter-v0", {}, 4, seed=0) as vector:
        np.testing.assert_array_equal(vector.reset(), [[1, 0, 0, 0]] * 4)
        np.testing.assert_array_equal(vector.step(np.arange(4)).observations, np.eye(4))


@pytest.mark.parametrize(
    ("low", "high", "dtype", "seen"),
    [
        (-1, 1, "float32", [1, -1, 0.25, -0.75]),
        (None, 1, "float64", [1, -9, 0.25, -0.75]),
        (None, None, "float32", [9, -9, 0.25, -0.75]),
        (-2, 5, "int64", [5, -2, 0, -1]),
    ],
)
def test_continuous_actions_are_clipped_reshaped_and_cast(
    low: float | None, high: float | None, dtype: str, seen: list[float]
) -> None:
    kwargs = {"shape": [2, 2], "low": low, "high": high, "dtype": dtype}
    with VectorEnv("toy_envs:Echo-v0", kwargs, 1, seed=0) as vector:
        vector.reset()
        step = vector.step(np.array([[9, -9, 0.25, -0.75]], np.float32))
    assert step.observations[0].tolist() == [*seen, 1.0]


@pytest.mark.parametrize("pay", ["inf", "-inf", "nan", "1e300"])
def test_what_is_not_finite_is_handed_on(pay: str) -> None:
    kwargs = {"shape": [1], "low": None, "high": None, "dtype": "float64", "pay": pay}
    with VectorEnv("toy_envs:Echo-v0", kwargs, 1, seed=0) as vector:
        vector.reset()
        step = vector.step(np.array([[1e300]]))
    np.testing.assert_array_equal(step.rewards, [float(pay)])
    assert step.observations[0].tolist() == [float("inf"), 1.0]


@pytest.mark.parametrize(
    ("env", "actions", "error", "words"),
    [
        ("CartPole-v1", np.zeros(3, np.int64), ValueError, r"int64\[3\]: must be integers \[2\]"),
        ("CartPole-v1", np.zeros(2), ValueError, "must be integers"),
        ("CartPole-v1", np.array([0, 2]), ValueError, "one of 0 to 1"),
        ("CartPole-v1", np.array([-1, 0]), ValueError, "one of 0 to 1"),
        ("Pendulum-v1", np.zeros(2), ValueError, r"must be \[2, 1\]"),
        ("Pendulum-v1", np.array([[0], [np.nan]]), FloatingPointError, "finite"),
        ("Pendulum-v1", np.array([[0], [np.inf]]), FloatingPointError, "finite"),
    ],
)
def test_actions_that_are_none(env: str, actions: Any, error: type[Exception], words: str) -> None:
    with VectorEnv(env, {}, 2, seed=0) as vector:
        vector.reset()
        with pytest.raises(error, match=words):
            vector.step(actions)


def test_no_step_before_a_reset() -> None:
    with VectorEnv("CartPole-v1", {}, 1, seed=0) as vector, pytest.raises(RuntimeError, match="call reset"):
        vector.step(np.array([0]))
    with pytest.raises(ValueError, match="at least one"):
        VectorEnv("CartPole-v1", {}, 0, seed=0)


def test_an_environments_own_error_comes_through_and_all_are_closed() -> None:
    before = toy_envs.Broken.closed
    with VectorEnv("toy_envs:Broken-v0", {}, 3, seed=0) as vector:
        vector.reset()
        vector.step(np.zeros(3, np.int64))
        with pytest.raises(OSError, match="simulator is gone"):
            vector.step(np.zeros(3, np.int64))
    assert toy_envs.Broken.closed == before + 3
    vector.close()
    assert toy_envs.Broken.closed == before + 3
