from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from grownn_hpo.errors import InputError
from grownn_hpo.report.evaluation import FinalEvaluation, Promise, SeedScore, evaluate
from grownn_hpo.report.reranking import kendall_tau, rerank


def final(config: int, promised: float, *returns: float | None) -> FinalEvaluation:
    scores = [SeedScore(100 + i, value) for i, value in enumerate(returns)]
    return evaluate("grown-4", config, 2_000_000, scores, Promise(promised, None, (0, 1)))


FOUR = [
    final(7, 0.9, 0.1, 0.2, 0.3),
    final(2, 0.8, 0.8, 0.9, 0.7),
    final(5, 0.7, 0.5, None, 0.9),
    final(1, 0.6, 0.4, 0.5, 0.6),
]


def test_the_ranking_is_by_the_fresh_seeds_and_what_failed_comes_last() -> None:
    found = rerank(FOUR)
    assert [(c.rank, c.search_rank, c.evaluation.config) for c in found.candidates] == [
        (1, 2, 2),
        (2, 4, 1),
        (3, 1, 7),
        (4, 3, 5),
    ]
    assert found.winner is FOUR[1]
    assert (found.agreeing, found.pairs) == (3, 6)  # 7 before 5, 2 before 5, 2 before 1
    assert found.correlation is not None
    assert found.correlation.value == pytest.approx(0.0)
    assert [c.first for c in found.candidates] == [1, 0, 0, 0]  # no resample of 0.4 to 0.6 reaches one of 0.7 to 0.9
    assert found == rerank(FOUR)


def test_shares_of_first_places_are_those_of_all_resamples() -> None:
    found = rerank([final(1, 1.0, 0.0, 1.0), final(2, 0.9, 0.6, 0.6)])
    # Of 0 and 1, a resample's mean is 1 in one case of four, else below 0.6.
    assert {c.evaluation.config: c.first for c in found.candidates} == pytest.approx({1: 0.25, 2: 0.75}, abs=0.02)


def test_equals_share_the_first_place_and_stay_in_the_searchs_order() -> None:
    found = rerank([final(1, 0.9, 0.5, 0.5), final(2, 0.8, 0.5, 0.5)])
    assert [(c.evaluation.config, c.first) for c in found.candidates] == [(1, 0.5), (2, 0.5)]
    assert found.correlation is None


def test_a_single_seed_gives_a_correlation_without_an_interval() -> None:
    tau = rerank([final(1, 0.9, 0.5), final(2, 0.8, 0.7), final(3, 0.7, 0.1)]).correlation
    assert tau is not None
    assert (tau.low, tau.high, tau.value) == (None, None, pytest.approx(1 / 3))


def test_where_nothing_finished_nothing_is_recommended() -> None:
    found = rerank([final(1, 0.9, None, 0.1), final(2, 0.8, 0.2, None)])
    assert found.winner is None
    assert found.correlation is None
    assert found.describe() == ["no configuration finished on all fresh seeds, so none can be recommended"]


def test_what_it_says() -> None:
    assert rerank(FOUR).describe()[1:] == [
        "first is configuration 2, which the search had in place 2; resampling the fresh seeds, it stays first in 100%"
        " of cases",
        "the search's first, configuration 7, is now in place 3",
    ]
    assert "3 of 6 pairs in the search's order" in rerank(FOUR).describe()[0]


def test_programs_find_these_keys() -> None:
    told = json.loads(json.dumps(rerank(FOUR).to_json(), allow_nan=False))
    assert list(told) == ["candidates", "correlation", "agreeing", "pairs"]
    assert list(told["correlation"]) == ["kendall_tau", "low", "high", "n"]
    assert list(told["candidates"][0])[:4] == ["rank", "search_rank", "first", "arm"]


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(InputError, match="1 configurations: a ranking needs at least two"):
        rerank(FOUR[:1])
    with pytest.raises(InputError, match="different seeds"):
        rerank([FOUR[0], final(2, 0.8, 1.0)])


levels = st.integers(-3, 3).map(float)


@given(st.lists(st.tuples(levels, levels), min_size=2, max_size=8))
def test_taus_agree_with_scipys(pairs: list[tuple[float, float]]) -> None:
    one, other = np.array(pairs).T
    ours = float(kendall_tau(one, other[:, None])[0])
    theirs = float(stats.kendalltau(one, other).statistic)
    assert ours == pytest.approx(theirs) or (math.isnan(ours) and math.isnan(theirs))


def test_minus_infinity_ranks_last() -> None:
    one, other = np.array([3.0, 2.0, 1.0]), np.array([[1e308], [-1e308], [-math.inf]])
    assert kendall_tau(one, other)[0] == 1
