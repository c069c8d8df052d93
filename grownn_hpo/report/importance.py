"""Which hyperparameters mattered: functional analysis of variance (fANOVA) of a random forest.

Hutter, Hoos and Leyton-Brown (2014, "An Efficient Approach for Assessing Hyperparameter Importance"). A forest learns
from the configurations what return they give; of each tree the share of its variance over the whole search space that
one hyperparameter alone explains is computed exactly, and the shares are averaged over trees.

Notation: `D` hyperparameters, `L` leaves of a tree, `I` intervals between a tree's thresholds on one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grownn_hpo.report.incumbent import standings
from grownn_hpo.report.parameters import Axis, axes_of, placed
from grownn_hpo.report.record import ArmRecord

FEWEST = 12
"""With fewer configurations a forest has nothing to hold out."""
TREES = 100
LEAST_FIT, FAIR_FIT = 0.1, 0.3
"""Below the one R2 the forest has no say, below the other it is called a weak guide."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """Of one hyperparameter, the mean share of variance over trees, and between what eight of ten trees lie."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Importance:
    """What a forest says of the configurations that completed `rung`.

    `fit` is its out-of-bag R2: 1 is perfect, and at 0 or below it foretells a configuration that it was not shown no
    better than their mean does. `shares`, the largest first, are None where the forest has no say: `why` tells
    then. `together` is what hyperparameters explain only together.
    """

    rung: int
    configurations: int
    fit: float | None
    shares: tuple[Share, ...] | None
    together: float
    why: str = ""


def importance(record: ArmRecord, rung: int = 1) -> Importance:
    """The importance of the arm's hyperparameters for the mean return at a rung, over what has completed it.

    Rung 1 has every configuration; higher rungs only those that did well below. The same record gives the same bits.
    """
    done = [s for trial, s in standings(record).items() if trial.rung == rung]
    tried = [record.configurations.get(s.trial.config, {}) for s in done]
    axes = axes_of(record.arm.space, tried)
    returns = np.array([s.mean_return for s in done], dtype=np.float64)
    n = len(done)

    def silent(why: str, fit: float | None = None) -> Importance:
        return Importance(rung, n, fit, None, 0.0, why)

    if not axes:
        return silent("no hyperparameter was searched" if n else "no trial is complete yet")
    if n < FEWEST:
        return silent(f"{n} configurations are complete, and a forest needs {FEWEST} to say anything")
    if np.ptp(returns) == 0:
        return silent("every configuration had the same return")
    x = placed(axes, tried)
    forest = _grow(x, returns)
    fit = float(forest.oob_score_)
    if fit < LEAST_FIT:
        why = "the forest foretells configurations that it was not shown hardly better than their mean does"
        return silent(f"{why} (out-of-bag R² {fit:.2f}), so it cannot tell what mattered", fit)
    per_tree = [shares_of_tree(tree.tree_, axes) for tree in forest.estimators_]
    shares = np.array([found for found in per_tree if found is not None])
    low, high = np.percentile(shares, [10, 90], axis=0)
    mean = shares.mean(axis=0)
    ordered = sorted(
        (Share(axis.name, *map(float, each)) for axis, *each in zip(axes, mean, low, high, strict=True)),
        key=lambda share: (-share.value, share.name),
    )
    return Importance(rung, n, fit, tuple(ordered), max(0.0, 1.0 - float(mean.sum())))


def shares_of_tree(tree: Any, axes: Sequence[Axis]) -> Floats | None:
    """The share of a tree's variance that each hyperparameter explains alone, shape (D,); None for a constant tree.

    `tree` is scikit-learn's `tree_`, grown on `placed` values. Each leaf is a box in the search space; under a uniform
    measure of the values that are used (what stands at `INACTIVE` has no mass) a marginal is constant between two
    thresholds, so that all integrals are finite sums.
    """
    low, high, value = _boxes(tree, len(axes))
    ends = [(axis.mass_below(low[:, d]), axis.mass_below(high[:, d])) for d, axis in enumerate(axes)]
    widths = np.stack([above - below for below, above in ends], axis=1)
    mass = widths.prod(axis=1)
    mean = float(mass @ value)  # the boxes fill the space, whose measure is 1
    variance = float(mass @ (value - mean) ** 2)
    if variance <= 1e-12 * max(1.0, mean**2):
        return None
    explained = np.empty(len(axes))
    for d, (below, above) in enumerate(ends):
        others = np.delete(widths, d, axis=1).prod(axis=1)
        edges = np.unique(np.concatenate([below, above]))
        covers = (below[:, None] <= edges[:-1]) & (above[:, None] >= edges[1:])  # (L, I)
        marginal = (others * (value - mean)) @ covers
        explained[d] = np.diff(edges) @ marginal**2 / variance
    return explained


def _grow(x: Floats, y: Floats) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(TREES, min_samples_leaf=2, oob_score=True, random_state=0, n_jobs=1)
    return forest.fit(x, y)


def _boxes(tree: Any, dimensions: int) -> tuple[Floats, Floats, Floats]:
    """A tree's leaves as boxes: lower corners, upper corners, both (L, D), and values, (L,)."""
    low = np.full((tree.node_count, dimensions), -np.inf)
    high = np.full((tree.node_count, dimensions), np.inf)
    for node in range(tree.node_count):  # parents come before their children
        left, right = tree.children_left[node], tree.children_right[node]
        if left < 0:
            continue
        for child in (left, right):
            low[child], high[child] = low[node], high[node]
        feature, threshold = tree.feature[node], tree.threshold[node]
        high[left, feature] = low[right, feature] = threshold
    leaves = tree.children_left < 0
    return low[leaves], high[leaves], tree.value[leaves, 0, 0]
