"""An arm's best configurations ranked again, by what each reached on fresh seeds.

Notation: `K` configurations in the search's order, `R` resamples. A configuration counts by its mean return, as in the
search; one of which a seed did not finish comes behind all others, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from grownn_hpo.errors import InputError
from grownn_hpo.report import wording
from grownn_hpo.report.evaluation import FinalEvaluation
from grownn_hpo.report.statistics import Estimate

RESAMPLES = 9999


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration's ranks, both from 1, and the share of resamples of the fresh seeds in which it comes first."""

    rank: int
    search_rank: int
    first: float
    evaluation: FinalEvaluation


@dataclass(frozen=True, slots=True)
class Reranking:
    """The candidates, best first; make one with `rerank`.

    `correlation` is Kendall's tau-b between what was promised and what fresh seeds gave, None where all are equal on
    either side; of the `pairs` of candidates, `agreeing` came in the search's order.
    """

    candidates: tuple[Candidate, ...]
    correlation: Estimate | None
    agreeing: int
    pairs: int

    @property
    def winner(self) -> FinalEvaluation | None:
        """The first, None where no candidate finished on all seeds."""
        first = self.candidates[0].evaluation
        return None if first.failed else first

    def to_json(self) -> dict[str, JsonValue]:
        """Everything, the candidates as `FinalEvaluation.to_json` writes them with their ranks beside."""
        tau = self.correlation
        return {
            "candidates": [
                {"rank": c.rank, "search_rank": c.search_rank, "first": c.first, **c.evaluation.to_json()}
                for c in self.candidates
            ],
            "correlation": None
            if tau is None
            else {"kendall_tau": tau.value, "low": tau.low, "high": tau.high, "n": tau.n},
            "agreeing": self.agreeing,
            "pairs": self.pairs,
        }

    def describe(self) -> list[str]:
        """What the new ranking says, as lines of text for a terminal."""
        top, tau = self.candidates[0], self.correlation
        lines = []
        if tau is not None:
            told = wording.interval(tau, alone="no interval")
            lines.append(
                f"rank correlation with the search (Kendall's tau, 1: the same order): {told};"
                f" {self.agreeing} of {wording.count(self.pairs, 'pair')} in the search's order"
            )
        if self.winner is None:
            return [*lines, "no configuration finished on all fresh seeds, so none can be recommended"]
        was = "as in the search" if top.search_rank == 1 else f"which the search had in place {top.search_rank}"
        lines.append(
            f"first is configuration {top.evaluation.config}, {was}; resampling the fresh seeds, it stays first in"
            f" {wording.percent(top.first)} of cases"
        )
        demoted = next(c for c in self.candidates if c.search_rank == 1)
        if demoted is not top:
            lines.append(
                f"the search's first, configuration {demoted.evaluation.config}, is now in place {demoted.rank}"
            )
        return lines


def rerank(evaluations: Sequence[FinalEvaluation], *, seed: int = 0) -> Reranking:
    """The final evaluations of an arm's best, given in the search's order, ranked by their fresh seeds.

    Intervals and shares come of resampling each configuration's seeds on its own; same input, same bits. Raises
    InputError for fewer than two, or where they are not over the same seeds.
    """
    if len(evaluations) < 2:
        raise InputError(f"{len(evaluations)} configurations: a ranking needs at least two")
    if len({tuple(score.seed for score in each.scores) for each in evaluations}) > 1:
        raise InputError("the configurations were evaluated on different seeds: a ranking needs the same")
    values = np.array([_value(each) for each in evaluations])
    drawn = _resampled(evaluations, np.random.default_rng(seed))
    leads = drawn == drawn.max(axis=0)
    shares = (leads / leads.sum(axis=0)).mean(axis=1)
    order = sorted(range(len(evaluations)), key=lambda k: (-values[k], k))
    candidates = (Candidate(rank, k + 1, float(shares[k]), evaluations[k]) for rank, k in enumerate(order, 1))
    promised = np.array([each.promise.mean_return for each in evaluations])
    finished = [values[k] for k in order if math.isfinite(values[k])]
    agreeing = sum(order.index(one) < order.index(other) for other in range(len(order)) for one in range(other))
    return Reranking(
        tuple(candidates),
        _correlation(promised, values, drawn) if finished else None,
        agreeing,
        len(order) * (len(order) - 1) // 2,
    )


def kendall_tau(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kendall's tau-b (1945) of `one`, shape (K,), with each column of `others`, (K, R); NaN where either is constant.

    Minus infinity may stand in `others` for what ranks last.
    """
    others = np.where(np.isfinite(others), others, np.finfo(np.float64).min)  # so that two of them are equal
    upper = np.triu_indices(len(one), 1)
    a = np.sign(one[upper[0]] - one[upper[1]])[:, None]
    b = np.sign(others[upper[0]] / 2 - others[upper[1]] / 2)  # halves: no overflow
    with np.errstate(invalid="ignore"):
        tau: NDArray[np.float64] = (a * b).sum(axis=0) / np.sqrt(np.abs(a).sum(axis=0) * np.abs(b).sum(axis=0))
    return tau


def _value(evaluation: FinalEvaluation) -> float:
    return -math.inf if evaluation.failed or evaluation.mean is None else evaluation.mean.value


def _resampled(evaluations: Sequence[FinalEvaluation], generator: np.random.Generator) -> NDArray[np.float64]:
    """Means of resamples, shape (K, R); minus infinity for a configuration of which a seed did not finish."""
    rows = []
    for each in evaluations:
        returns = np.array([-math.inf if s.mean_return is None else s.mean_return for s in each.scores])
        rows.append(
            np.full(RESAMPLES, -math.inf)
            if each.failed
            else generator.choice(returns, (RESAMPLES, len(returns))).mean(axis=1)
        )
    return np.array(rows)


def _correlation(
    promised: NDArray[np.float64], values: NDArray[np.float64], drawn: NDArray[np.float64]
) -> Estimate | None:
    value = float(kendall_tau(promised, values[:, None])[0])
    if math.isnan(value):
        return None
    spread = kendall_tau(promised, drawn)
    spread = spread[np.isfinite(spread)]
    if not spread.size or (drawn == drawn[:, :1]).all():
        return Estimate(value, None, None, len(values))
    low, high = np.quantile(spread, [0.025, 0.975])
    return Estimate(value, float(low), float(high), len(values))
