"""Losses: they stop a study only where it does not get any further."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grownn_hpo.driver.losses import CUT_LIMIT, LOST_LIMIT, Losses
from grownn_hpo.errors import Stopped
from grownn_hpo.trial import Segment

SEGMENT = Segment(4, 2, 7)
losses = st.tuples(st.integers(0, 3), st.booleans())


@given(st.lists(losses, max_size=4 * LOST_LIMIT))
def test_only_losses_since_the_furthest_boundary_count(history: list[tuple[int, bool]]) -> None:
    counted = Losses(512)
    furthest = 0
    since: list[bool] = []
    for boundary, had_all_time in history:
        if boundary > furthest:
            furthest, since = boundary, []
        since.append(had_all_time)
        if len(since) < LOST_LIMIT and sum(since) < CUT_LIMIT:
            counted.count(SEGMENT, 512 * boundary, "scancel", had_all_time)
        else:
            with pytest.raises(Stopped):
                counted.count(SEGMENT, 512 * boundary, "scancel", had_all_time)
            return


def test_a_segment_that_gets_on_may_be_lost_for_ever() -> None:
    counted = Losses(512)
    for boundary in range(1000):
        for _ in range(CUT_LIMIT - 1):
            counted.count(SEGMENT, 512 * boundary, "the time was over", had_all_time=True)


def test_segments_are_counted_apart() -> None:
    counted = Losses(None)
    for seed in range(2 * LOST_LIMIT):
        counted.count(Segment(1, 1, seed), 0, "scancel", had_all_time=True)


def test_what_is_ended_from_outside_again_and_again_stops_the_study() -> None:
    counted = Losses(None)
    for _ in range(LOST_LIMIT - 1):
        counted.count(SEGMENT, 0, "ended by SIGKILL", had_all_time=False)
    with pytest.raises(Stopped, match=rf"^{SEGMENT}: .*from outside {LOST_LIMIT} times: ended by SIGKILL"):
        counted.count(SEGMENT, 0, "ended by SIGKILL", had_all_time=False)


@pytest.mark.parametrize(("boundary", "told"), [(None, "(the study has none)"), (4096, "(now 4096)")])
def test_what_never_fits_into_a_worker_job_stops_the_study(boundary: int | None, told: str) -> None:
    counted = Losses(boundary)
    for _ in range(CUT_LIMIT - 1):
        counted.count(SEGMENT, 0, "the time was over", had_all_time=True)
        counted.count(SEGMENT, 0, "scancel", had_all_time=False)
    with pytest.raises(Stopped) as stopped:
        counted.count(SEGMENT, 0, "the time was over", had_all_time=True)
    said = str(stopped.value)
    assert said.startswith(f"{SEGMENT}: {CUT_LIMIT} worker jobs spent all their time on it")
    assert "`walltime` in the cluster profile" in said
    assert told in said
    assert stopped.value.exit_code == 3
