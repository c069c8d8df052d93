from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from grownn_hpo.report.statistics import (
    Estimate,
    bootstrap_band,
    bootstrap_interval,
    difference_interval,
    interquartile_mean,
    mean,
)

finite = st.floats(-1e6, 1e6)


def trimmed_by_hand(x: list[float]) -> float:
    cut = len(x) // 4
    kept = sorted(x)[cut : len(x) - cut]
    return sum(kept) / len(kept)


def test_interquartile_mean_of_one_to_eight_is_that_of_three_to_six() -> None:
    assert interquartile_mean([8, 1, 7, 2, 6, 3, 5, 4]) == 4.5


def test_interquartile_mean_ignores_one_outlier_in_five_and_not_in_three() -> None:
    assert interquartile_mean([1, 2, 3, 4, 1e9]) == 3
    assert interquartile_mean([1, 2, 3000]) == 1001


@given(st.lists(finite, min_size=1, max_size=30))
def test_interquartile_mean_is_the_mean_of_the_middle(x: list[float]) -> None:
    assert interquartile_mean(x) == pytest.approx(trimmed_by_hand(x), rel=1e-9, abs=1e-6)


@given(st.lists(finite, min_size=2, max_size=12))
def test_an_interval_holds_its_estimate_within_the_sample_and_is_the_same_twice(x: list[float]) -> None:
    found = bootstrap_interval(x, resamples=500)
    assert found == bootstrap_interval(x, resamples=500)
    assert found.low is not None
    assert found.high is not None
    slack = 1e-9 * max(map(abs, x))
    assert min(x) - slack <= found.low <= found.high + slack <= max(x) + 2 * slack
    assert found.n == len(x)


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    x = np.random.default_rng(0).normal(10, 2, 400)
    found = bootstrap_interval(x, mean)
    half = 1.96 * x.std() / 20
    assert found.low == pytest.approx(x.mean() - half, abs=0.02)
    assert found.high == pytest.approx(x.mean() + half, abs=0.02)


def test_the_interval_agrees_with_resampling_written_out() -> None:
    x = np.array([0.1, 0.4, 0.5, 0.9, 1.3, 2.0])
    rng = np.random.default_rng(7)
    drawn = [trimmed_by_hand(list(rng.choice(x, len(x)))) for _ in range(20_000)]
    found = bootstrap_interval(x)
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.03)


def test_more_confidence_is_a_wider_interval() -> None:
    x = list(np.random.default_rng(1).normal(size=20))
    narrow, wide = bootstrap_interval(x, confidence=0.5), bootstrap_interval(x, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high  # type: ignore[operator]


def test_one_value_has_no_interval_and_equal_values_one_of_no_width() -> None:
    one, same = bootstrap_interval([3.0]), bootstrap_interval([3.0] * 5)
    assert (one.value, one.low, one.high, one.n) == (3.0, None, None, 1)
    assert (same.value, same.low, same.high, same.n) == (3.0, 3.0, 3.0, 5)


@pytest.mark.parametrize(("x", "said"), [([], "0 values"), ([1.0, np.nan], "nan"), ([np.inf], "inf")])
def test_what_has_no_statistic_is_refused(x: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bootstrap_interval(x)


def test_a_band_resamples_whole_curves() -> None:
    # Two points whose seeds differ by a constant: the same seeds drawn at both give bands that differ by it exactly.
    x = np.array([0.0, 1.0, 2.0, 5.0])
    band = bootstrap_band(np.stack([x, x + 8]))
    assert band.low is not None
    assert band.high is not None
    assert band.low[1] - band.low[0] == 8
    assert band.high[1] - band.high[0] == 8
    assert bootstrap_band(x[:, None]).low is None


def test_a_differences_interval_is_that_of_two_samples_resampled_on_their_own() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(1.0, 1.0, 12), rng.normal(0.4, 3.0, 30)
    ours = difference_interval(list(x), list(y), resamples=20_000)
    theirs = stats.bootstrap(
        (x, y),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx(x.mean() - y.mean())
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=0.05), pytest.approx(theirs.high, abs=0.05))
    assert ours == difference_interval(list(x), list(y), resamples=20_000)
    # A second opinion, in closed form: the mean's standard error of each sample, as its resamples have it.
    error = math.sqrt(x.var() / 12 + y.var() / 30)
    assert ours.high is not None
    assert ours.low is not None
    assert (ours.high - ours.low) / 2 == pytest.approx(1.96 * error, rel=0.04)


def test_a_difference_from_a_single_value_has_no_interval() -> None:
    assert difference_interval([1.0], [0.25, 0.75]) == Estimate(0.5, None, None, 3)
    assert difference_interval([2.0, 2.0], [0.5, 0.5]) == Estimate(1.5, 1.5, 1.5, 4)
    with pytest.raises(ValueError, match="0 values"):
        difference_interval([], [1.0])
    with pytest.raises(ValueError, match="nan: values must be finite"):
        difference_interval([1.0], [math.nan])
