from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grownn_hpo.ppo.gae import gae


def column(*numbers, dtype=float):
    return np.array(numbers, dtype)[:, None]


def test_a_perfect_value_function_leaves_no_advantage():
    """Reward 1 forever is worth 1 / (1 - gamma) everywhere."""
    value = np.full((50, 3), 10.0)
    advantages, returns = gae(np.ones((50, 3)), value, value, np.zeros((50, 3), bool), 0.9, 0.95)
    np.testing.assert_allclose(advantages, 0, atol=1e-6)
    np.testing.assert_allclose(returns, 10, rtol=1e-6)


def test_lambda_0_is_the_one_step_error_and_lambda_1_the_discounted_sum():
    rewards, values, following = column(1, 2, 3), column(0.5, 0.25, 0.125), column(0.25, 0.125, 4)
    ended = column(0, 0, 0, dtype=bool)
    advantages, _ = gae(rewards, values, following, ended, 0.5, 0.0)
    np.testing.assert_allclose(advantages, column(1 + 0.125 - 0.5, 2 + 0.0625 - 0.25, 3 + 2 - 0.125))
    _, returns = gae(rewards, values, following, ended, 0.5, 1.0)
    np.testing.assert_allclose(returns, column(1 + 1 + 0.75 + 0.5, 2 + 1.5 + 1, 3 + 2))


def test_a_terminated_episode_is_worth_what_it_gave_and_a_truncated_one_goes_on_in_thought():
    rewards, values, ended = column(1, 1), column(0, 0), column(1, 1, dtype=bool)
    terminated, truncated = 0.0, 8.0
    advantages, _ = gae(rewards, values, column(terminated, truncated), ended, 0.5, 0.95)
    np.testing.assert_allclose(advantages, column(1, 5))


@given(st.integers(1, 12), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**16))
def test_it_is_the_sum_that_the_paper_defines(steps, gamma, lambda_, seed):
    rng = np.random.default_rng(seed)
    rewards, values, following = rng.normal(size=(3, steps, 2))
    ended = rng.random((steps, 2)) < 0.3
    advantages, returns = gae(rewards, values, following, ended, gamma, lambda_)
    for n in range(2):
        for t in range(steps):
            expected, weight = 0.0, 1.0
            for k in range(t, steps):
                expected += weight * (rewards[k, n] + gamma * following[k, n] - values[k, n])
                weight *= gamma * lambda_
                if ended[k, n]:
                    break
            np.testing.assert_allclose(advantages[t, n], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(returns, advantages + values, rtol=1e-5, atol=1e-5)
