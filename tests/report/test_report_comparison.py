"""Comparisons of arms: the figures against rliable, closed forms and enumeration, and what is said of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from grownn_hpo.report import ArmRecord, labelled, verdict
from grownn_hpo.report.comparison import Basis, Question, Verdict, across_questions, compare, decisive_pair, questions
from grownn_hpo.report.evaluation import FinalEvaluation, Promise, SeedScore, evaluate
from grownn_hpo.report.incumbent import leaderboard, standings
from grownn_hpo.report.statistics import (
    bootstrap_interval,
    difference_interval,
    interquartile_mean,
    least_p,
    mann_whitney_p,
    performance_profile,
    probability_of_improvement,
    rank_correlation,
)
from grownn_hpo.trial import Trial

X = ([0.1, 0.4, 0.5, 0.9, 1.3], [2.0, 2.5, 2.5, 3.1, 0.7])
Y = ([0.2, 0.3, 0.5, 0.6, 0.8], [2.5, 1.0, 1.5, 0.2, 2.2])
TAUS = [0.0, 0.25, 0.5, 0.8, 1.2, 1.5]


def test_statistics_agree_with_rliable() -> None:
    # rliable 1.2.0 with arch 7.2.0 on the same scores, 20,000 resamples: probability_of_improvement, aggregate_iqm,
    # create_performance_profile. Values to rounding; the ends of bootstrap intervals to one step of their grid (1/25).
    both, one = probability_of_improvement(X, Y), probability_of_improvement(X[:1], Y[:1])
    assert (both.value, one.value) == pytest.approx((0.65, 0.58), abs=1e-12)
    assert (both.low, both.high) == pytest.approx((0.38, 0.88), abs=0.021)
    assert (one.low, one.high) == pytest.approx((0.20, 0.94), abs=0.041)
    means = [float(interquartile_mean(z)) for z in (*X, *Y)]
    assert means == pytest.approx([0.6, 2.3333333333333335, 0.4666666666666666, 1.5666666666666667], abs=1e-12)
    iqm = bootstrap_interval(X[0])
    assert (iqm.low, iqm.high) == pytest.approx((0.2, 1.1666666666666667), abs=1e-12)
    profile = performance_profile(X[0], TAUS)
    assert profile.value == pytest.approx([1.0, 0.8, 0.4, 0.4, 0.2, 0.0], abs=1e-12)
    assert profile.low == pytest.approx([1.0, 0.4, 0.0, 0.0, 0.0, 0.0], abs=1e-12)
    assert profile.high == pytest.approx([1.0, 1.0, 0.8, 0.8, 0.6, 0.0], abs=1e-12)


def test_intervals_agree_with_all_resamples_there_are() -> None:
    x, y = np.array([0.3, 1.0, 0.2, 0.8]), np.array([0.5, 0.1, 0.9])
    every_x = np.array(list(itertools.product(x, repeat=4)))
    every_y = np.array(list(itertools.product(y, repeat=3)))
    wins = (every_x[:, None, :, None] > every_y[None, :, None, :]).mean(axis=(2, 3)).ravel()
    found = probability_of_improvement([x], [y], resamples=40_000)
    assert found.value == pytest.approx((x[:, None] > y[None, :]).mean())
    assert (found.low, found.high) == pytest.approx(np.percentile(wins, [2.5, 97.5]), abs=0.02)
    gaps = (interquartile_mean(every_x)[:, None] - interquartile_mean(every_y)[None, :]).ravel()
    gain = difference_interval(list(x), list(y), interquartile_mean, resamples=40_000)
    assert gain.value == pytest.approx(float(interquartile_mean(x) - interquartile_mean(y)))
    assert (gain.low, gain.high) == pytest.approx(np.percentile(gaps, [2.5, 97.5]), abs=0.02)


def test_mann_whitney_is_exact_with_few_runs_and_near_the_normal_with_many() -> None:
    assert mann_whitney_p([1, 2, 3], [4, 5, 6]) == pytest.approx(0.1) == least_p(3, 3)
    assert mann_whitney_p(range(5), range(5, 10)) == pytest.approx(2 / 252) == least_p(5, 5)
    # With ties, by hand: of the 6 ways to split 1, 1, 2, 3 in two, 2 are as far apart as {1, 1} and {2, 3}.
    assert mann_whitney_p([1, 1], [2, 3]) == pytest.approx(2 / 6)
    rng = np.random.default_rng(0)
    many, others = rng.normal(size=40), rng.normal(0.4, size=40)
    normal = stats.mannwhitneyu(many, others, method="asymptotic").pvalue
    assert mann_whitney_p(many, others) == pytest.approx(normal, abs=0.02)


def test_rank_correlation_is_spearmans_with_bonett_and_wrights_interval() -> None:
    x, y = [1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 6, 5, 8, 7]
    rho = 1 - 6 * 8 / (8 * 63)  # eight differences of one place
    reach = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / 5)
    found = rank_correlation(x, y)
    assert found is not None
    assert found.value == pytest.approx(rho)
    assert (found.low, found.high) == pytest.approx(
        (np.tanh(np.arctanh(rho) - reach), np.tanh(np.arctanh(rho) + reach))
    )
    same = rank_correlation(x, x)
    assert same is not None
    assert same.value == pytest.approx(1)
    assert same.high == 1
    assert 0.8 < same.low < 0.95  # type: ignore[operator]
    opposite = rank_correlation(x, x[::-1])
    assert opposite is not None
    assert (opposite.low, opposite.high) == (-1.0, pytest.approx(-same.low))  # type: ignore[operator]
    assert rank_correlation(x[:4], y[:4]) is None
    assert rank_correlation(x, [1.0] * 8) is None


def asked(*records: ArmRecord, evaluations: dict[str, FinalEvaluation] | None = None) -> tuple[Question, ...]:
    arms = labelled(records)
    boards = {label: leaderboard(record) for label, record in arms.items()}
    return questions(
        arms, {name: board[0].trial if board else None for name, board in boards.items()}, evaluations or {}
    )


def said(*records: ArmRecord) -> list[str]:
    found = asked(*records)
    leaders = {c.label: c.trial for question in found for c in question.contenders}
    return [verdict.answer(question, leaders) for question in found]


def test_the_answer_of_a_grown_arm_that_wins(grown: ArmRecord, static: ArmRecord) -> None:
    (answer,) = said(grown, static)
    ours, theirs = leaderboard(grown)[0], leaderboard(static)[0]
    assert min(ours.returns) > max(theirs.returns)
    assert answer.startswith("Growing helps here: after 2 million env steps, grown-4 (depth 1 to 4) reaches 0.")
    assert "5 and 5 runs on the search's own seeds" in answer
    assert "with probability 1, in all 25 pairings (Mann-Whitney, p = 0.0079)." in answer
    assert f"Use configuration {ours.trial.config} of grown-4: learning_rate 0.00" in answer
    # The same records, the other way round: it hurts.
    (swapped,) = said(renamed(static, grown, "grown-4"), renamed(grown, static, "static-4"))
    assert swapped.startswith("Growing hurts here")
    assert "with probability 0, in all 25 pairings" in swapped


def renamed(results: ArmRecord, rungs: ArmRecord, name: str) -> ArmRecord:
    """An arm with one's rungs, whose last rung came to what the other's did."""
    last, own = len(rungs.arm.rungs), len(results.arm.rungs)
    moved = tuple(
        replace(r, segment=replace(r.segment, rung=last), env_steps=2_000_000)
        for r in results.results
        if r.segment.rung == own
    )
    return replace(results, arm=rungs.arm.model_copy(update={"name": name}), results=moved, curves={})


def test_three_seeds_are_too_few_to_tell(grown: ArmRecord, static: ArmRecord) -> None:
    few = [
        replace(
            record,
            arm=record.arm.model_copy(update={"seeds": (0, 1, 2)}),
            results=tuple(r for r in record.results if r.segment.seed < 3),
        )
        for record in (grown, static)
    ]
    (answer,) = said(*few)
    assert answer.startswith("It cannot be told whether growing helps here")
    assert "p = 0.1); so few runs could not tell whatever they gave, it takes at least 4 of each." in answer


def test_fresh_seeds_count_once_every_arm_has_them(grown: ArmRecord, static: ArmRecord) -> None:
    finals = {}
    for record, returns in ((grown, (0.2, 0.4, 0.6)), (static, (0.3, 0.5))):
        top = leaderboard(record)[0]
        scores = [SeedScore(100 + i, r) for i, r in enumerate(returns)] + [SeedScore(200, None)]
        promise = Promise(top.mean_return, None, record.arm.seeds)
        finals[record.arm.name] = evaluate(record.arm.name, top.trial.config, 2_000_000, scores, promise)
    (question,) = asked(grown, static, evaluations=finals)
    assert question.basis is Basis.FRESH
    assert [c.scores for c in question.contenders] == [(0.2, 0.4, 0.6), (0.3, 0.5)]
    (question,) = asked(grown, static, evaluations={"grown-4": finals["grown-4"]})
    assert question.basis is Basis.SEARCH
    assert question.contenders[0].scores == leaderboard(grown)[0].returns
    other = replace(finals["static-4"], config=finals["static-4"].config + 1)  # of an incumbent that was
    (question,) = asked(grown, static, evaluations={**finals, "static-4": other})
    assert question.basis is Basis.SEARCH


def test_what_cannot_be_compared_is_not(
    grown: ArmRecord, static: ArmRecord, half_done: ArmRecord, unstarted: ArmRecord
) -> None:
    (alone,) = said(grown)
    assert alone.startswith("Whether growing helps cannot be said from grown-4 alone")
    (waiting,) = said(half_done, static)
    assert "no configuration of grown-4 has completed its last rung" in waiting
    (nothing,) = said(unstarted)
    assert "No trial is complete yet, so that there are no settings to recommend." in nothing
    rungs = (static.arm.rungs[0].model_copy(update={"env_steps": 500_000}),)
    shorter = replace(static, arm=static.arm.model_copy(update={"rungs": rungs}))
    (question,) = asked(grown, shorter)
    assert decisive_pair(question) is None
    assert list(question.pairs()) == []
    assert "equal length" in str(verdict.missing_comparison(question))
    elsewhere = replace(
        static, arm=static.arm.model_copy(update={"task": static.arm.task.model_copy(update={"env": "O"})})
    )
    assert [q.env for q in asked(grown, elsewhere)] == [grown.arm.task.env, "O"]


def test_over_several_tasks_the_mean_of_the_tasks(grown: ArmRecord, static: ArmRecord) -> None:
    elsewhere = [
        replace(
            r, arm=r.arm.model_copy(update={"study": "ant", "task": r.arm.task.model_copy(update={"env": "Ant-v4"})})
        )
        for r in (grown, static)
    ]
    worse = replace(
        elsewhere[0], results=tuple(replace(r, mean_return=-5.0) if r.mean_return else r for r in grown.results)
    )
    ((one, other, tasks, estimate),) = across_questions(asked(grown, static, worse, elsewhere[1]))
    assert (one, other, tasks, estimate.value) == ("grown-4", "static-4", 2, 0.5)


def test_a_pair_is_open_until_the_test_says_otherwise(grown: ArmRecord, static: ArmRecord) -> None:
    (question,) = asked(grown, static)
    one, other = question.contenders
    near = compare(replace(one, scores=(1.0, 2.0, 3.0, 4.0, 5.0)), replace(other, scores=(1.5, 0.5, 2.5, 3.5, 4.5)))
    assert near.verdict is Verdict.OPEN
    assert near.p > 0.05
    assert compare(one, other).verdict is Verdict.BETTER
    assert compare(other, one).verdict is Verdict.WORSE


def test_searches_that_spent_differently_are_told(simulated: Callable[..., ArmRecord], static: ArmRecord) -> None:
    more = simulated("static-1", static.arm.rungs, 40)
    (line,) = verdict.cautions(asked(static, more))
    assert "static-4 200 million env steps, static-1 398 million env steps" in line  # one seed of one trial diverged
    assert standings(more)[Trial(1, 1)].mean_return
