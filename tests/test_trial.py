"""Segments, results and what a trial tells the search."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grownn_hpo.errors import Fault, GrowNNError, InputError, Stopped
from grownn_hpo.trial import Outcome, Segment, SegmentResult, Status, Trial, outcomes_of


def result(segment: Segment, status: Status = Status.COMPLETED, mean_return: float | None = 0.0) -> SegmentResult:
    return SegmentResult(segment, status, mean_return, None, 1000, 1, None, None, None)


def failed(segment: Segment, status: Status) -> SegmentResult:
    return result(segment, status, None)


def test_a_lineage_is_the_chain_of_one_configuration_and_seed() -> None:
    segment: Segment | None = Segment(42, 3, 7)
    chain = []
    while segment is not None:
        chain.append(segment)
        segment = segment.parent
    assert chain == [Segment(42, 3, 7), Segment(42, 2, 7), Segment(42, 1, 7)]
    assert str(chain[0]) == "c0042/s7/r3"
    assert chain[0].trial == Trial(42, 3)


def test_segments_are_ordered_as_the_ledger_is() -> None:
    ordered = [Segment(c, r, s) for c in (1, 2, 10) for r in (1, 2) for s in (0, 3, 20)]
    assert sorted(ordered, key=lambda s: (s.config, s.rung, s.seed)) == sorted(set(ordered)) == ordered


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=5), st.randoms())
def test_the_cost_is_minus_the_mean_whatever_order_results_come_in(returns: list[float], order: object) -> None:
    results = [result(Segment(1, 1, seed), mean_return=value) for seed, value in enumerate(returns)]
    shuffled = results.copy()
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    outcome = Outcome.of(shuffled)
    assert outcome == Outcome.of(results)
    assert outcome.status is Status.COMPLETED
    assert outcome.cost == -sum(returns) / len(returns)


def test_the_order_of_a_sum_matters_and_is_the_seeds() -> None:
    returns = [1e16, 1.0, -1e16, 1.0]
    results = [result(Segment(1, 1, seed), mean_return=value) for seed, value in enumerate(returns)]
    assert len({Outcome.of(list(order)).cost for order in itertools.permutations(results)}) == 1


def test_the_worst_seed_decides_the_status() -> None:
    good, diverged, crashed = (
        result(Segment(1, 1, 0)),
        failed(Segment(1, 1, 1), Status.DIVERGED),
        failed(Segment(1, 1, 2), Status.CRASHED),
    )
    assert Outcome.of([good, diverged]) == Outcome(Status.DIVERGED, None)
    assert Outcome.of([good, diverged, crashed]) == Outcome(Status.CRASHED, None)


def test_a_trial_has_an_outcome_once_all_its_seeds_have_a_result() -> None:
    found = {s: result(s, mean_return=float(s.seed)) for s in (Segment(1, 1, 0), Segment(1, 1, 1), Segment(2, 1, 0))}
    assert outcomes_of(found, (0, 1)) == {Trial(1, 1): Outcome(Status.COMPLETED, -0.5)}
    assert outcomes_of(found, (0,)) == {t: Outcome(Status.COMPLETED, -0.0) for t in (Trial(1, 1), Trial(2, 1))}
    assert outcomes_of(found, (0, 1, 2)) == {}
    assert outcomes_of({}, (0, 1)) == {}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_completed_result_has_a_finite_return(value: float | None) -> None:
    good = result(Segment(3, 2, 1))
    with pytest.raises(ValueError, match=r"c0003/s1/r2: completed with mean_return .*finite number"):
        replace(good, mean_return=value)
    assert replace(good, status=Status.DIVERGED, mean_return=value).mean_return is value


def test_errors_say_place_value_and_rule_and_how_the_program_ends() -> None:
    fault = Fault("study.yaml", "seeds", [1, 1], "a seed may stand here only once")
    assert str(fault) == "study.yaml: seeds = [1, 1]: a seed may stand here only once"
    assert str(Fault("f", "", 1, "rule")) == "f = 1: rule"
    assert len(str(Fault("f", "k", "x" * 10_000, "rule"))) < 150
    assert InputError(fault).faults == (fault,)
    assert str(InputError([fault, fault])) == f"{fault}\n{fault}"
    assert (InputError("text").faults, str(InputError("text"))) == ((), "text")
    assert (GrowNNError.exit_code, InputError.exit_code, Stopped.exit_code) == (1, 2, 3)
