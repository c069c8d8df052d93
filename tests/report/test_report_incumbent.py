from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grownn_hpo.errors import InputError
from grownn_hpo.report import ArmRecord, labelled
from grownn_hpo.report.curves import changes, learning_curve
from grownn_hpo.report.incumbent import leaderboard, outcomes, standings, trajectory
from grownn_hpo.report.incumbent_file import leading
from grownn_hpo.spec import Arm, Network, Rung, Search, Task
from grownn_hpo.store.arm import Bracket, create_arm, write_bracket
from grownn_hpo.store.attempts import claim_attempt, commit_result
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.store.terms import arm_sha256
from grownn_hpo.trial import CurvePoint, Segment, SegmentResult, Status, Trial

ARM = Arm(
    study="s",
    name="a",
    seed=0,
    seeds=(0, 1),
    task=Task(env="CartPole-v1", envs=1),
    space={},
    network=Network(kind="mlp"),
    search=Search(trials=9),
    rungs=(Rung(env_steps=100, depth=1, configurations=3), Rung(env_steps=50, depth=2, configurations=2)),
)


def ended(config: int, rung: int, *returns: float | None, steps: int | None = None) -> list[SegmentResult]:
    """The results of a trial's seeds, None for one that diverged."""
    return [
        SegmentResult(
            Segment(config, rung, seed),
            Status.DIVERGED if value is None else Status.COMPLETED,
            value,
            None,
            (100, 150)[rung - 1] if steps is None else steps,
            rung,
            None,
            None,
            None,
        )
        for seed, value in enumerate(returns)
    ]


def record(*trials: list[SegmentResult]) -> ArmRecord:
    return ArmRecord(ARM, results=tuple(result for results in trials for result in results))


def test_a_trial_has_an_outcome_once_all_seeds_are_in() -> None:
    found = outcomes(record(ended(1, 1, 4.0, 6.0), ended(2, 1, 9.0), ended(3, 1, 9.0, None)))
    assert {t.config: (o.status, o.cost) for t, o in found.items()} == {
        1: (Status.COMPLETED, -5.0),
        3: (Status.DIVERGED, None),
    }


def test_the_leaderboard_is_of_the_highest_rung_alone() -> None:
    found = leaderboard(record(ended(1, 1, 90, 90), ended(2, 1, 80, 80), ended(1, 2, 5, 6), ended(2, 2, 7, 8)))
    assert [(s.trial, s.mean_return, s.returns) for s in found] == [
        (Trial(2, 2), 7.5, (7, 8)),
        (Trial(1, 2), 5.5, (5, 6)),
    ]


def test_a_rung_on_which_all_diverged_is_not_the_highest() -> None:
    assert leaderboard(record(ended(1, 1, 3, 3), ended(1, 2, None, 3)))[0].trial == Trial(1, 1)


def test_among_equals_the_earlier_configuration_leads_on_board_and_trajectory() -> None:
    found = record(ended(2, 1, 3, 3), ended(1, 1, 3, 3))
    assert leaderboard(found)[0].trial == trajectory(found)[-1].standing.trial == Trial(1, 1)


def test_the_trajectory_counts_all_env_steps_in_ladder_order() -> None:
    found = trajectory(
        record(
            ended(4, 1, 99, 99),  # the second bracket's, after all of the first's
            ended(1, 1, 1, 1),
            ended(2, 1, 3, 3),
            ended(3, 1, None, 5, steps=10),  # 2 x 10 env steps, and no lead
            ended(2, 2, 2, 2),  # a higher rung takes the lead with less
            ended(1, 2, 1, 1),
        )
    )
    assert [(lead.env_steps, lead.standing.trial) for lead in found] == [
        (200, Trial(1, 1)),
        (400, Trial(2, 1)),
        (400 + 20 + 100, Trial(1, 2)),
        (400 + 20 + 200, Trial(2, 2)),
    ]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 2), st.none() | st.integers(-9, 9)), max_size=20))
def test_the_trajectory_ends_with_the_first_of_the_leaderboard(seen: list[tuple[int, int, int | None]]) -> None:
    trials = {(config, rung): ended(config, rung, value, value) for config, rung, value in seen}
    found = record(*trials.values())
    board, leads = leaderboard(found), trajectory(found)
    assert [lead.standing for lead in leads[-1:]] == list(board[:1])
    assert [lead.env_steps for lead in leads] == sorted(lead.env_steps for lead in leads)


def test_nothing_depends_on_the_order_of_results(grown: ArmRecord) -> None:
    shuffled = list(grown.results)
    np.random.default_rng(0).shuffle(shuffled)  # type: ignore[arg-type]
    other = replace(grown, results=tuple(shuffled))
    assert leaderboard(other) == leaderboard(grown)
    assert trajectory(other) == trajectory(grown)
    assert list(standings(other)) == list(standings(grown))


def point(env_steps: int, value: float, success: float | None = None) -> CurvePoint:
    return CurvePoint(env_steps, value, 0.0, 1.0, success, 1)


def test_a_curve_joins_the_rungs_at_the_points_that_all_seeds_share() -> None:
    found = replace(
        record(),
        curves={
            Segment(1, 1, 0): (point(50, 1), point(100, 2)),
            Segment(1, 1, 1): (point(50, 3), point(100, 4)),
            Segment(1, 2, 0): (point(100, 5), point(150, 6)),
            Segment(1, 2, 1): (point(100, 7),),
        },
    )
    curve = learning_curve(found, Trial(1, 2))
    assert curve is not None
    assert curve.env_steps.tolist() == [50, 100, 100]  # before and after growth
    assert curve.returns.tolist() == [[1, 3], [2, 4], [5, 7]]
    assert curve.success_rates is None


def test_a_seed_that_lacks_a_rung_is_left_out_and_none_at_all_is_no_curve() -> None:
    found = replace(
        record(),
        curves={
            Segment(1, 1, 0): (point(100, 1, 0.5),),
            Segment(1, 1, 1): (point(100, 2, 1.0),),
            Segment(1, 2, 1): (point(150, 3, 1.0),),
        },
    )
    curve = learning_curve(found, Trial(1, 2))
    assert curve is not None
    assert curve.returns.tolist() == [[2], [3]]
    assert curve.success_rates is not None
    assert curve.success_rates.tolist() == [[1], [1]]
    assert learning_curve(found, Trial(2, 1)) is None


def test_changes_are_where_depth_or_environment_change() -> None:
    rungs = (
        Rung(env_steps=10, depth=1, configurations=1),
        Rung(env_steps=20, depth=1, configurations=1),
        Rung(env_steps=30, depth=3, configurations=1),
        Rung(env_steps=40, depth=3, configurations=1, env="Harder-v0"),
    )
    found = changes(ARM.model_copy(update={"rungs": rungs}))
    assert [(c.env_steps, c.depth, c.grew, c.env) for c in found] == [(30, 3, True, None), (60, 3, False, "Harder-v0")]


def test_arms_are_labelled_as_briefly_as_tells_them_apart() -> None:
    here, other = record(), ArmRecord(ARM.model_copy(update={"study": "t"}))
    third = ArmRecord(ARM.model_copy(update={"name": "b"}))
    assert list(labelled([here, other, third])) == ["s/a", "t/a", "b"]
    with pytest.raises(InputError, match=r"s/a was given twice"):
        labelled([here, third, here])


def test_a_promise_tells_each_seeds_own_return(tmp_path: Path) -> None:
    """Also where the study lists its seeds in another order."""
    space = {"hyperparameters": [{"name": "gamma", "type": "uniform_float", "lower": 0.5, "upper": 0.9}]}
    rung = Rung(env_steps=960, depth=1, configurations=1)
    arm = ARM.model_copy(update={"seeds": (7, 3), "space": space, "rungs": (rung,)})
    folder = ArmFolder(tmp_path / "s" / "a")
    create_arm(folder, arm, {})
    write_bracket(folder, Bracket(1, ({"gamma": 0.5},), "0" * 64, arm_sha256(arm)))
    for seed in arm.seeds:
        segment = Segment(1, 1, seed)
        result = SegmentResult(segment, Status.COMPLETED, float(seed), None, 960, 1, None, None, None)
        commit_result(claim_attempt(folder, segment), result, None)
    (best,) = leading(folder, 1)
    assert dict(zip(best.promise.seeds, best.promise.returns, strict=True)) == {3: 3.0, 7: 7.0}
