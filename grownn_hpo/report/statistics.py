"""Interquartile means, comparisons of two samples and bootstrap intervals, as Agarwal et al. (2021, "Deep RL at the
Edge of the Statistical Precipice") ask of results over few seeds.

Notation: `S` seeds, `P` points of a curve, `R` and `Q` runs of two arms. Seeds are always the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import scipy  # its `stats`, which takes as long to import as all else, when it is first needed
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FEWEST_PAIRS = 5
"""With fewer, a rank correlation's interval holds nearly everything."""


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
    return cast(Floats, scipy.stats.trim_mean(np.asarray(x, dtype=np.float64), 0.25, axis=axis))


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
    if points:
        _sample(x)
    value = statistic(x, axis=-1)
    if seeds < 2 or not points:
        return Band(value, None, None)
    interval = scipy.stats.bootstrap(
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
    """The statistic of `x` minus that of `y`, shapes (R,) and (Q,), with its stratified percentile bootstrap interval.

    Stratified: each sample is resampled on its own. `n` is R + Q; no interval where either is a single value. Same
    input, same bits. Raises ValueError as `bootstrap_interval` does.
    """
    strata = [_sample(values) for values in (x, y)]
    value, n = float(statistic(strata[0]) - statistic(strata[1])), len(x) + len(y)
    if min(len(x), len(y)) < 2:
        return Estimate(value, None, None, n)
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.choice(values, (resamples, values.size))) for values in strata]
    low, high = _percentiles(drawn[0] - drawn[1], confidence)
    return Estimate(value, low, high, n)


def probability_of_improvement(
    x: Sequence[ArrayLike],
    y: Sequence[ArrayLike],
    confidence: float = 0.95,
    *,
    seed: int = 0,
    resamples: int = 9999,
) -> Estimate:
    """How likely a run of X beats a run of Y on the same task: the mean over tasks of Mann and Whitney's U / (R Q).

    `x[k]` and `y[k]`, of shapes (R_k,) and (Q_k,), are the scores on task k; a draw counts half. The interval is the
    percentile bootstrap's, stratified: each task's runs of X and of Y are resampled among themselves (Agarwal et al.
    2021, section 4.3). `n` is the smallest of the samples; no interval where that is 1.
    """
    if not x or len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} tasks: both need the same tasks, at least one")
    rng = np.random.default_rng(seed)
    values, drawn, fewest = [], np.zeros(resamples), min(len(_sample(z)) for z in (*x, *y))
    for ours, theirs in zip(map(_sample, x), map(_sample, y), strict=True):
        gap = ours[:, None] - theirs[None, :]
        wins = (gap > 0) + 0.5 * (gap == 0)
        values.append(wins.mean())
        # How often a resample holds each run says as much as the resample.
        of_x, of_y = (rng.multinomial(len(z), np.full(len(z), 1 / len(z)), resamples) for z in (ours, theirs))
        drawn += np.einsum("br,rq,bq->b", of_x, wins, of_y, optimize=True) / wins.size / len(x)
    low, high = _percentiles(drawn, confidence) if fewest > 1 else (None, None)
    return Estimate(float(np.mean(values)), low, high, fewest)


def mann_whitney_p(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p of Mann and Whitney's test that neither sample tends to larger values; ties are allowed.

    Exact by enumeration of the ways to split the runs where these are fewer than 10,000 (up to 7 against 7), by that
    many random ones beyond.
    """
    method = scipy.stats.PermutationMethod(n_resamples=9_999, rng=np.random.default_rng(seed))
    return float(scipy.stats.mannwhitneyu(_sample(x), _sample(y), alternative="two-sided", method=method).pvalue)


def least_p(runs: int, others: int) -> float:
    """The smallest two-sided p that `runs` against `others` can give: every one of them above, or below, the others."""
    return min(1.0, 2 / math.comb(runs + others, runs))


def performance_profile(scores: ArrayLike, taus: ArrayLike, confidence: float = 0.95, *, seed: int = 0) -> Band:
    """The share of runs whose score is above each of `taus`, shape (P,), with its pointwise bootstrap interval.

    The run-score distribution of Agarwal et al. 2021, section 4.2, of `scores` of shape (S,).
    """
    above = _sample(scores)[None, :] > np.asarray(taus, dtype=np.float64)[:, None]
    return bootstrap_band(above.astype(np.float64), mean, confidence, seed=seed)


def rank_correlation(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Estimate | None:
    """Spearman's rank correlation of pairs, both of shape (N,), with the interval of Bonett and Wright (2000).

    That is Fisher's, with the variance (1 + rho^2 / 2) / (N - 3). A perfect correlation would give it no width: it then
    gets the interval of the next lower one that N ranks can have, up to 1. None with fewer than `FEWEST_PAIRS`, and
    where all of `x` or of `y` are equal, for then there is no order to speak of.
    """
    x, y = _sample(x), _sample(y)
    n = len(x)
    if n != len(y):
        raise ValueError(f"{n} and {len(y)} values: a rank correlation is that of pairs")
    if n < FEWEST_PAIRS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    rho = float(scipy.stats.spearmanr(x, y).statistic)
    most = 1 - 12 / (n * (n * n - 1))  # two neighbours have changed places
    near = min(max(rho, -most), most)
    reach = scipy.stats.norm.ppf(0.5 + confidence / 2) * math.sqrt((1 + near**2 / 2) / (n - 3))
    low, high = math.tanh(math.atanh(near) - reach), math.tanh(math.atanh(near) + reach)
    return Estimate(rho, min(low, rho) if rho > -most else -1.0, max(high, rho) if rho < most else 1.0, n)


def _sample(x: ArrayLike) -> Floats:
    """The values as an array; ValueError for none, and for those that are not finite."""
    values = np.asarray(x, dtype=np.float64)
    if not values.size:
        raise ValueError("0 values: a statistic needs at least one; leave out what has none")
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        raise ValueError(f"{bad}: values must be finite; leave out the segments that diverged, and say how many")
    return values


def _percentiles(drawn: Floats, confidence: float) -> tuple[float, float]:
    low, high = np.percentile(drawn, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)
