from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grownn_hpo.ppo.normalise import RewardScaler, RunningMoments


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 2**16))
def test_moments_do_not_depend_on_how_the_values_came_in_batches(sizes, seed):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(5, 3, (size, 2)) for size in sizes]
    moments = RunningMoments.of_shape(2)
    for batch in batches:
        moments.update(batch)
    # The start, mean 0 and variance 1, weighs as much as 1e-4 values.
    values = np.concatenate(batches)
    weights = np.concatenate([[1e-4], np.ones(len(values))])
    mean = np.average(np.vstack([np.zeros((1, 2)), values]), axis=0, weights=weights)
    square = np.average(np.vstack([np.ones((1, 2)), values**2]), axis=0, weights=weights)
    np.testing.assert_allclose(moments.mean, mean)
    np.testing.assert_allclose(moments.var, square - mean**2, rtol=1e-7)
    assert moments.count == 1e-4 + len(values) or np.isclose(moments.count, 1e-4 + len(values))


def test_normalised_observations_are_standard_and_clipped_and_leave_the_statistics():
    values = np.random.default_rng(0).normal(7, 2, (5000, 3))
    moments = RunningMoments.of_shape(3)
    moments.update(values)
    before = moments.mean.copy(), moments.var.copy(), moments.count
    out = moments.normalise(values)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(0), 1, atol=1e-4)
    assert moments.normalise(np.full((1, 3), 1e9)).tolist() == [[10.0] * 3]
    assert moments.mean.tolist() == before[0].tolist()
    assert moments.var.tolist() == before[1].tolist()
    assert moments.count == before[2]


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return():
    scaler = RewardScaler.new(0.5)
    scaler.begin(2)
    seen = RunningMoments.of_shape()
    scaled = scaler.scale(np.array([1.0, 3.0]), np.array([False, True]))
    seen.update(np.array([1.0, 3.0]))
    np.testing.assert_allclose(scaled, np.array([1.0, 3.0]) / np.sqrt(seen.var + 1e-8))
    # The second environment's episode ended, so its return starts again.
    scaled = scaler.scale(np.array([2.0, 2.0]), np.array([False, False]))
    seen.update(np.array([2.5, 2.0]))
    np.testing.assert_allclose(scaled, 2 / np.sqrt(seen.var + 1e-8))
    assert scaler.scale(np.array([1e9, 0.0]), np.array([False, False]))[0] <= 10
