"""Efforts: from timings to costs, and from costs to what a segment takes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grownn_hpo.driver.planning.effort import Effort, Timing, between, costs
from grownn_hpo.spec import Evaluation, PPOSettings

seconds = st.floats(1e-6, 1e-1)
EFFORT = Effort(
    start_seconds=3.0,
    env_step_seconds=0.001,
    minibatch_seconds=0.01,
    row_seconds=0.0001,
    episode_seconds=0.5,
    checkpoint_bytes=1000,
    record_bytes=100,
    memory_gib=0.5,
)


def timing(env_step: float, minibatch: float, row: float, batch_size: int, n_epochs: int) -> Timing:
    rows = 515  # the last minibatch is small
    minibatches = -(-rows // batch_size)
    return Timing(rows, batch_size, n_epochs, env_step * rows + n_epochs * (minibatch * minibatches + row * rows))


@given(seconds, seconds, seconds, st.integers(2, 10))
def test_costs_are_found_again(env_step: float, minibatch: float, row: float, many: int) -> None:
    timings = [timing(env_step, minibatch, row, batch, epochs) for batch, epochs in ((256, 1), (256, many), (32, many))]
    assert costs(*timings) == pytest.approx((env_step, minibatch, row), rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(0, 10), min_size=3, max_size=3))
@example([0.0, 0.26953125, 2.0])
def test_noise_never_makes_a_cost_negative(measured: list[float]) -> None:
    settings = ((256, 1), (256, 10), (32, 10))
    timings = [Timing(515, *each, took) for each, took in zip(settings, measured, strict=True)]
    assert min(costs(*timings)) >= 0


def test_timings_must_differ() -> None:
    same = Timing(512, 64, 2, 1.0)
    with pytest.raises(ValueError, match="must differ"):
        costs(same, same, same)


def test_a_segments_seconds_are_the_sum_of_its_parts() -> None:
    settings = PPOSettings(n_steps=100, batch_size=64, n_epochs=2)
    evaluation = Evaluation(episodes=4, rounds=5)
    # Rollouts of 400: 7 minibatches each, and 2 in the last, of 100.
    whole = EFFORT.segment_seconds(settings, 4, [2100], evaluation)
    assert whole == pytest.approx(3 + 2.1 + 2 * (0.01 * 37 + 0.0001 * 2100) + 0.5 * 4 * 5)
    # Two legs begin twice.
    halves = EFFORT.segment_seconds(settings, 4, [1200, 900], evaluation)
    assert halves == pytest.approx(whole + 3)
    # A round of evaluation needs a rollout.
    assert EFFORT.segment_seconds(settings, 4, [400], evaluation) == pytest.approx(
        3 + 0.4 + 2 * (0.07 + 0.04) + 0.5 * 4
    )


def test_between_two_depths_lies_a_straight_line() -> None:
    deep = Effort(*(2 * value for value in (3.0, 0.001, 0.01, 0.0001, 0.5, 1000, 100, 0.5)))
    assert between(EFFORT, deep, 0) == EFFORT
    assert between(EFFORT, deep, 1) == deep
    assert between(EFFORT, deep, 0.25).checkpoint_bytes == 1250
