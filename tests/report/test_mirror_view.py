"""What mirrors are made of: where every configuration stands, and the axis of time."""

from __future__ import annotations

import pytest
from mirror_samples import arm_of, record_of, return_of, view

from grownn_hpo.report.incumbent import outcomes
from grownn_hpo.report.mirror.series import lineages
from grownn_hpo.report.mirror.view import Fate, view_of
from grownn_hpo.search.ladder import incumbent
from grownn_hpo.trial import Segment, Trial

C, P, F, U, W = Fate.COMPLETE, Fate.PASSED_OVER, Fate.FAILED, Fate.UNDER_WAY, Fate.WAITING


@pytest.mark.parametrize(
    ("stop_after", "trials", "fates"),
    [
        (None, 14, [P, P, P, C, P, P, C, P]),
        (0, 14, []),
        (1, 14, [U, U, U, U]),  # the first bracket is suggested, one of eight segments is done
        (7, 14, [U, U, U, U]),  # nobody is passed over while one seed of the rung is missing
        (8, 14, [U, P, P, U]),
        (9, 14, [U, P, P, U, U, U, U, U]),  # the next bracket is suggested
        (None, 2, [P, P, W, W]),  # the budget ends inside the first rung
        (None, 5, [P, P, P, P]),  # or where but one of the two that were promoted has a slot
    ],
)
def test_every_configuration_has_its_fate(stop_after: int | None, trials: int, fates: list[Fate]) -> None:
    seen = view(stop_after, trials)
    assert [course.fate for course in seen.courses] == fates
    assert seen.complete == (stop_after is None)


def test_who_diverged_has_failed_and_is_compared_with_nobody() -> None:
    seen = view(diverging=frozenset({Trial(4, 2)}))
    course = seen.courses[3]
    assert (course.config, course.fate) == (4, Fate.FAILED)
    assert course.highest is not None
    assert course.highest.trial == Trial(4, 1)
    assert course.trials[-1].failures == {"0": "loss is nan", "7": "loss is nan"}
    assert course.trials[-1].mean_return is None


def test_a_trial_tells_what_the_ledger_does() -> None:
    seen = view()
    found = outcomes(seen.record)
    assert len(seen.trials) == len(found) == 14
    for trial in seen.trials:
        assert trial.mean_return == return_of(Segment(trial.trial.config, trial.trial.rung, 0)) + 0.25 * 7 / 2
        assert trial.env_steps == 1000 * trial.trial.rung
        assert trial.success_rate == 0.5
    best = max((c for c in seen.courses if c.fate is C), key=lambda c: c.highest.mean_return if c.highest else 0)
    assert incumbent(found) == Trial(best.config, 3)


def test_time_is_that_of_the_segments_one_after_the_other_in_ladder_order() -> None:
    seen = view(stop_after=13)
    assert seen.trials[0].starts == 0
    for before, trial in zip(seen.trials, seen.trials[1:], strict=False):
        assert trial.starts == before.ends
        assert seen.record.ladder_key(before.trial) < seen.record.ladder_key(trial.trial)
    assert seen.trials[-1].ends == pytest.approx(sum(seen.record.seconds.values()))


def test_a_lineages_scalars_run_over_its_rungs() -> None:
    own = {(config, seed): scalars for config, seed, scalars in lineages(view())}
    assert len(own) == 2 * 8
    scalars = own[4, 7]
    assert [s.env_steps for s in scalars] == sorted(s.env_steps for s in scalars)
    assert [s.seconds for s in scalars] == sorted(s.seconds for s in scalars)
    returns = [(s.env_steps, s.value) for s in scalars if s.tag == "eval/episodic_return"]
    last = [return_of(Segment(4, rung, 7)) for rung in (1, 2, 3)]
    assert returns[1::2] == [(1000, last[0]), (2000, last[1]), (3000, last[2])]
    assert [s.value for s in scalars if s.tag == "charts/depth"] == [1, 1, 2, 2, 3, 3]
    # 500 env steps in 4 seconds, between a segment's two ticks
    assert [(s.env_steps, s.value) for s in scalars if s.tag == "charts/SPS"] == [(1000 * r, 125.0) for r in (1, 2, 3)]
    ends = [s.seconds for s in scalars if s.tag == "charts/depth"]
    assert ends == [0, 17, 17, 34, 34, 51]


def test_without_progress_an_evaluation_is_timed_by_its_env_steps() -> None:
    (_, _, scalars), *_ = lineages(view_of(record_of(arm_of(), stop_after=1)))
    assert [(s.seconds, s.value) for s in scalars if s.tag == "eval/episodic_length"] == [(5.0, 30.0), (10.0, 20.0)]
