from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grownn_hpo.envs import Episodes, VectorEnv, play, random_policy
from grownn_hpo.envs.opening import open_env
from grownn_hpo.envs.vector import Purpose, episode_seeds

COUNTDOWN = "toy_envs:Countdown-v0"


def idle(observations: Any) -> Any:
    return np.zeros(len(observations), np.int64)


def lengths_alone(seed: int, round_number: int, episodes: int) -> tuple[int, ...]:
    """What each episode's seed says that it lasts, from its first observation."""
    single = open_env(COUNTDOWN, {})
    first = [single.reset(episode_seeds(seed, Purpose.EVALUATION, round_number, k)) for k in range(episodes)]
    single.close()
    return tuple(int(observation[0]) for observation in first)


@given(seed=st.integers(0, 2**64), n=st.integers(1, 7), episodes=st.integers(1, 30), round_number=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_every_episode_is_counted_once_whatever_its_length(seed: int, n: int, episodes: int, round_number: int) -> None:
    """Neither how many play side by side nor which end first decides what is counted."""
    with VectorEnv(COUNTDOWN, {}, n, seed) as vector:
        played = play(idle, vector, episodes, round_number)
    assert played.lengths == lengths_alone(seed, round_number, episodes)
    assert played.returns == tuple(map(float, played.lengths))
    assert played.successes == tuple(length % 2 == 0 for length in played.lengths)


def test_only_what_still_plays_is_asked_and_stepped() -> None:
    asked: list[int] = []

    def act(observations: Any) -> Any:
        assert (observations[:, 1] < observations[:, 0]).all(), "an episode that has ended acts on"
        asked.append(len(observations))
        return idle(observations)

    with VectorEnv(COUNTDOWN, {}, 4, seed=0) as vector:
        played = play(act, vector, 10)
    assert sum(asked) == sum(played.lengths)
    assert asked == sorted(asked, reverse=True)
    with VectorEnv(COUNTDOWN, {}, 40, seed=0) as vector:
        assert play(act, vector, 10) == played


def test_rounds_differ_repeat_and_leave_training_aside() -> None:
    with VectorEnv(COUNTDOWN, {}, 2, seed=0) as vector:
        first = play(idle, vector, 20, 0)
        assert play(idle, vector, 20, 1) != first
        vector.reset()
        vector.step(np.zeros(2, np.int64))
        assert play(idle, vector, 20, 0) == first
        with pytest.raises(RuntimeError, match="call reset"):
            vector.step(np.zeros(2, np.int64))
        training = [float(vector.reset()[0, 0]) for _ in range(20)]
        assert training != list(first.lengths)
        with pytest.raises(ValueError, match="at least 1"):
            play(idle, vector, 0)
        with pytest.raises(ValueError, match="must be integers"):
            play(lambda _: np.zeros(2), vector, 2)


def test_figures() -> None:
    episodes = Episodes((1.0, 3.0, 5.0, 7.0), (2, 2, 4, 8), (True, False, True, True))
    assert episodes.mean_return == 4.0
    assert episodes.std_return == math.sqrt(5.0)
    assert episodes.mean_length == 4.0
    assert episodes.success_rate == 0.75
    assert Episodes((1.0,), (1,), (None,)).success_rate is None
    endless = Episodes((math.inf, -math.inf), (1, 1), (None, None))
    assert math.isnan(endless.mean_return)
    assert math.isnan(endless.std_return)


def test_the_random_policy() -> None:
    room = random_policy("MiniHack-Room-Random-5x5-v0", {}, 100, seed=0)
    assert room == random_policy("MiniHack-Room-Random-5x5-v0", {}, 100, seed=0)
    assert room != random_policy("MiniHack-Room-Random-5x5-v0", {}, 100, seed=1)
    # 84% and 45 steps were measured over thousands of episodes: these are within three standard errors.
    assert room.success_rate == pytest.approx(0.84, abs=0.11)
    assert room.mean_length == pytest.approx(45, abs=11)
    assert random_policy("CartPole-v1", {}, 50, seed=0).mean_length == pytest.approx(22, abs=5)


@pytest.mark.parametrize(
    ("low", "high", "mean", "deviation"),
    [(-1, 3, 1.0, 4 / math.sqrt(12)), (None, None, 0.0, 1.0), (None, 50, 0.0, 1.0)],
)
def test_random_actions_in_a_box(low: float | None, high: float | None, mean: float, deviation: float) -> None:
    from grownn_hpo.envs.episodes import random_actions

    kwargs = {"shape": [2], "low": low, "high": high, "dtype": "float64"}
    with VectorEnv("toy_envs:Echo-v0", kwargs, 1, seed=0) as vector:
        drawn = random_actions(vector, np.random.default_rng(0))(np.zeros((4000, 3)))
    assert drawn.shape == (4000, 2)
    assert drawn.mean() == pytest.approx(mean, abs=0.06)
    assert drawn.std() == pytest.approx(deviation, rel=0.03)
