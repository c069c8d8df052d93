from __future__ import annotations

import json
import time

import pytest

from grownn_hpo.errors import InputError
from grownn_hpo.report import wording
from grownn_hpo.report.evaluation import FinalEvaluation, Promise, RandomPolicy, SeedScore, evaluate
from grownn_hpo.report.statistics import Estimate, difference_interval

PROMISE = Promise(0.9, 0.95, (0, 1, 2))
SCORES = [SeedScore(100 + i, value, 0.5 + value / 2) for i, value in enumerate((0.1, 0.5, 0.6, 0.7, 0.9))]


def final(scores: list[SeedScore], random: RandomPolicy | None = None) -> FinalEvaluation:
    return evaluate("grown-4", 7, 2_000_000, scores, PROMISE, random)


def test_the_figures_by_hand() -> None:
    found = final(SCORES)
    assert found.iqm is not None
    assert found.iqm.value == pytest.approx(0.6)  # of 0.5, 0.6 and 0.7
    assert (found.mean, found.median, found.tuning_gap) != (None, None, None)
    assert found.mean.value == pytest.approx(0.56)  # type: ignore[union-attr]
    assert found.median.value == 0.6  # type: ignore[union-attr]
    assert found.tuning_gap == Estimate(pytest.approx(0.9 - 0.56), None, None, 5)  # one figure was promised
    assert found.success_rate is not None
    assert found.success_rate.value == pytest.approx(0.78)
    assert found == final(SCORES[::-1])


def test_json_reads_back_to_an_equal_value() -> None:
    for found in (final(SCORES, RandomPolicy(-0.4, 0.59, 200)), final([SeedScore(9, None)]), final(SCORES[:1])):
        assert FinalEvaluation.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_what_it_says() -> None:
    found = final(SCORES, RandomPolicy(-0.4, 0.59, 200))
    assert found.iqm is not None
    assert found.describe() == [
        "grown-4, configuration 7, trained for 2 million env steps on each of 5 fresh seeds",
        f"return, IQM [95% bootstrap interval]: 0.600 [{found.iqm.low:.3f}, {found.iqm.high:.3f}]",
        f"return, mean: {wording.interval(found.mean)}; median: {wording.interval(found.median)}",  # type: ignore[arg-type]
        f"success rate, mean over seeds: 78% [{found.success_rate.low:.0%}, {found.success_rate.high:.0%}]",  # type: ignore[union-attr]
        "promised before: 0.900 (mean over 3 seeds); tuning gap, promised minus got: 0.340 (no interval)",
        "a random policy gets -0.400, success rate 59% (over 200 episodes)",
    ]


def test_seeds_that_did_not_finish_are_named_not_counted() -> None:
    found = final([*SCORES, SeedScore(105, None)])
    assert found.mean == final(SCORES).mean
    assert found.failed == (105,)
    assert found.describe()[1] == "1 seed did not finish (105): all below is over the other 5, and so too rosy"
    nothing = final([SeedScore(105, None)])
    assert (nothing.iqm, nothing.mean, nothing.tuning_gap) == (None, None, None)
    assert len(nothing.describe()) == 2


def test_the_gap_has_an_interval_where_the_seeds_behind_the_promise_are_known() -> None:
    promise = Promise(0.9, None, (0, 1, 2), (0.85, 0.9, 0.95))
    gap = evaluate("grown-4", 7, 2_000_000, SCORES, promise).tuning_gap
    assert gap == difference_interval((0.85, 0.9, 0.95), [s.mean_return for s in SCORES])  # type: ignore[misc]
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low < gap.value < gap.high


def test_a_promise_of_a_shorter_training_is_compared_after_that_training() -> None:
    promise = Promise(0.3, None, (0, 1), (0.2, 0.4), 500_000)
    scores = [SeedScore(100, 0.9, None, 0.1), SeedScore(101, 0.7, None, 0.2), SeedScore(102, None, None, 0.3)]
    found = evaluate("grown-4", 7, 2_000_000, scores, promise)
    assert found.tuning_gap is not None
    assert found.tuning_gap.value == pytest.approx(0.1)
    assert found.mean is not None
    assert found.mean.value == pytest.approx(0.8)
    assert any("promised before: 0.300 after 500,000 env steps" in line for line in found.describe())
    assert any("tuning gap, promised minus got after 500,000 env steps: 0.100 [" in line for line in found.describe())
    assert FinalEvaluation.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_few_seeds_are_called_few() -> None:
    assert "intervals over 3 seeds are too narrow: take 5 or more, better 10" in final(SCORES[:3]).describe()
    assert not any("too narrow" in line for line in [*final(SCORES).describe(), *final(SCORES[:1]).describe()])


def test_programs_find_these_keys() -> None:
    told = final(SCORES, RandomPolicy(-0.4, 0.59, 200)).to_json()
    assert list(told) == [
        *("arm", "config", "env_steps", "scores", "promise", "random", "iqm", "mean", "median", "success_rate"),
        *("tuning_gap", "failed"),
    ]
    assert set(told["scores"][0]) == {"seed", "mean_return", "success_rate", "promised_return"}  # type: ignore[index, arg-type]
    assert set(told["promise"]) == {"mean_return", "success_rate", "seeds", "returns", "env_steps"}  # type: ignore[arg-type]
    assert set(told["iqm"]) == {"value", "low", "high", "n"}  # type: ignore[arg-type]


def test_a_task_without_success_says_nothing_of_it() -> None:
    found = final([SeedScore(100, 1.0), SeedScore(101, 2.0)])
    assert found.success_rate is None
    assert not any("success" in line for line in found.describe())


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([], "no scores"),
        ([SeedScore(100, 1.0), SeedScore(100, 2.0)], r"\[100, 100\]: a seed may stand here only once"),
        ([SeedScore(1, 1.0), SeedScore(100, 2.0)], r"seeds = \[1\]: the search has tuned on these"),
    ],
)
def test_seeds_that_prove_nothing_are_refused(scores: list[SeedScore], said: str) -> None:
    with pytest.raises(InputError, match=said):
        final(scores)


def test_numbers_as_people_read_them() -> None:
    assert [wording.number(x) for x in (1532.4, 0.87251, -12.345, 0, 0.00037, 3e-7, None)] == [
        "1,532",
        "0.873",
        "-12.3",
        "0",
        "0.000370",
        "3.00e-07",
        "\N{EN DASH}",
    ]
    assert wording.number(0.0037, [0.9, None]) == "0.004"
    assert wording.number(-1e300) == "-1.00e+300"
    assert [wording.percent(x) for x in (0.5, 1, 0.9991, 0, 0.001)] == ["50%", "100%", "99.9%", "0%", "0.1%"]
    assert wording.env_steps(249_750_000) == "249.75 million env steps"
    assert [wording.duration(s) for s in (45, 700, 9000, 4_333_000)] == ["45 s", "12 min", "2.5 h", "1,204 h"]
    assert wording.interval(Estimate(0.5, None, None, 1)) == "0.500 (one value, no interval)"
    assert wording.interval(Estimate(0.5, None, None, 1), alone="no interval") == "0.500 (no interval)"
    assert wording.percentage(Estimate(0.5, 0.25, 1.0, 4)) == "50% [25%, 100%]"
    assert wording.percentage(Estimate(0.5, None, None, 1)) == "50%"


def test_moments_are_told_as_briefly_as_they_can_be() -> None:
    noon = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))
    assert wording.clock(noon + 3600, noon) == "13:00"
    assert wording.clock(noon + 86400, noon) == "Mon 12:00"
    assert wording.clock(noon + 10 * 86400, noon) == "2 Dec 12:00"
