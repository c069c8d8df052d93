"""Interquartile means and bootstrap intervals, as Agarwal et al. (2021, "Deep RL at the Edge of the Statistical
Precipice") ask of results over few seeds.

Notation: `S` seeds, `P` points of a curve. Seeds are always the last axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


class Statistic(Protocol):
    """Reduces the axis that it is told to, the others kept."""

    def __call__(self, x: Floats, axis: int = -1) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic of `n` values and its interval; `low` and `high` are None where one value tells nothing of spread."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Band:
    """A statistic at every point of a curve, each of shape (P,); `low` and `high` are None for a single seed."""

    value: Floats
    low: Floats | None
    high: Floats | None


def interquartile_mean(x: ArrayLike, axis: int = -1) -> Floats:
    """The mean of what is left when the lowest and the highest quarter are cut off, `floor(n / 4)` values each.

    With fewer than four values nothing is cut, and it is the mean.
    """
    return cast(Floats, stats.trim_mean(np.asarray(x, dtype=np.float64), 0.25, axis=axis))


def mean(x: ArrayLike, axis: int = -1) -> Floats:
    """The mean, as a `Statistic`."""
    return cast(Floats, np.mean(np.asarray(x, dtype=np.float64), axis=axis))


def bootstrap_interval(
    x: Sequence[float] | Floats,
    statistic: Statistic = interquartile_mean,
    confidence: float = 0.95,
    *,
    seed: int = 0,
    resamples: int = 9999,
) -> Estimate:
    """The statistic of `x`, shape (S,), with its percentile bootstrap interval (Efron 1979); same input, same bits.

    One value gets no interval. Values that are all equal get one of width zero: that is what resampling them shows,
    not a claim of certainty. Raises ValueError for no values, and for values that are not finite.
    """
    band = bootstrap_band(np.asarray(x, dtype=np.float64)[None], statistic, confidence, seed=seed, resamples=resamples)
    if band.low is None or band.high is None:
        return Estimate(float(band.value[0]), None, None, len(x))
    return Estimate(float(band.value[0]), float(band.low[0]), float(band.high[0]), len(x))


def bootstrap_band(
    x: Floats,
    statistic: Statistic = interquartile_mean,
    confidence: float = 0.95,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Band:
    """`bootstrap_interval` at every point of curves, `x` of shape (P, S).

    Whole curves are resampled: a resample holds the same seeds at every point. The intervals are pointwise.
    """
    points, seeds = x.shape
    if points and not seeds:
        raise ValueError("0 values: a statistic needs at least one; leave out what has none")
    if not np.isfinite(x).all():
        bad = x[~np.isfinite(x)][0]
        raise ValueError(f"{bad}: values must be finite; leave out the segments that diverged, and say how many")
    value = statistic(x, axis=-1)
    if seeds < 2 or not points:
        return Band(value, None, None)
    interval = stats.bootstrap(
        (x,),
        statistic,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=max(1, min(resamples, 4_000_000 // x.size)),  # at most 32 MB at a time
        vectorized=True,
        axis=-1,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Band(value, cast(Floats, interval.low), cast(Floats, interval.high))


def median(x: ArrayLike, axis: int = -1) -> Floats:
    """The median, as a `Statistic`."""
    return cast(Floats, np.median(np.asarray(x, dtype=np.float64), axis=axis))


def difference_interval(
    x: Sequence[float],
    y: Sequence[float],
    statistic: Statistic = mean,
    confidence: float = 0.95,
    *,
    seed: int = 0,
    resamples: int = 9999,
) -> Estimate:
    """The statistic of `x` minus that of `y` with its stratified percentile bootstrap interval; same input, same bits.

    Stratified: a resample draws from `x` as many as `x` has, and from `y` as many as `y` has, each on its own. Where
    either is a single value there is no interval. Raises ValueError as `bootstrap_interval` does.
    """
    strata = [np.asarray(values, dtype=np.float64) for values in (x, y)]
    for values in strata:
        if not values.size:
            raise ValueError("0 values: a statistic needs at least one; leave out what has none")
        if not np.isfinite(values).all():
            bad = values[~np.isfinite(values)][0]
            raise ValueError(f"{bad}: values must be finite; leave out the segments that diverged, and say how many")
    value, n = float(statistic(strata[0]) - statistic(strata[1])), len(x) + len(y)
    if min(len(x), len(y)) < 2:
        return Estimate(value, None, None, n)
    generator = np.random.default_rng(seed)
    drawn = [statistic(generator.choice(values, (resamples, values.size))) for values in strata]
    low, high = np.quantile(drawn[0] - drawn[1], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), n)
