"""Forecasts: the real ladder's segments, on a clock that keeps the laws of scheduling."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grownn_hpo.driver.planning.forecast import Course, Forecast, forecast
from grownn_hpo.search.ladder import Ladder, plan
from grownn_hpo.trial import Outcome, Segment, Status, Trial

untimed = settings(deadline=None)


def varying(seed: int) -> Callable[[Segment], float]:
    """Seconds between 1 and 10 that belong to a segment."""
    return lambda segment: 1 + 9 * random.Random(f"{seed}/{segment}").random()


@st.composite
def courses(draw: st.DrawFn, name: str = "arm") -> Course:
    counts = sorted(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)), reverse=True)
    ladder = Ladder(
        tuple(counts),
        trials=draw(st.integers(1, 5 * sum(counts))),
        lookahead=draw(st.integers(1, 4)),
        surrogate=draw(st.sampled_from(("lowest", "highest", "all"))),
    )
    space = draw(st.one_of(st.none(), st.integers(1, 25)))
    return Course(name, ladder, range(draw(st.integers(1, 3))), varying(draw(st.integers(0, 99))), space)


def played_by_the_whole_ladder(course: Course) -> tuple[dict[Trial, Outcome], dict[int, int]]:
    """All that a study of this course ever knows, one trial after another, never forgetting a bracket."""
    outcomes: dict[Trial, Outcome] = {}
    held: dict[int, int] = {}
    full = course.ladder.configurations[0]
    while not (now := plan(course.ladder, held, outcomes)).complete:
        if now.suggest is not None:
            left = math.inf if course.configurations is None else course.configurations - (now.suggest - 1) * full
            held[now.suggest] = int(max(0, min(full, left)))
        for trial in now.needed[:1]:
            outcomes[trial] = Outcome(Status.COMPLETED, random.Random(str(trial)).random())
    return outcomes, held


def segments_by_rung(found: Forecast, name: str = "arm") -> dict[int, int]:
    return {rung: work.segments for rung, work in found.work[name].items()}


@untimed
@given(courses(), st.integers(1, 12))
def test_segments_are_those_of_the_ladder(course: Course, slots: int) -> None:
    outcomes, _ = played_by_the_whole_ladder(course)
    trials = Counter(trial.rung for trial in outcomes)
    expected = {rung: trials[rung] * len(course.seeds) for rung in range(1, course.ladder.rungs + 1)}
    assert segments_by_rung(forecast([course], slots)) == expected


@untimed
@given(courses(), st.integers(1, 12))
def test_no_schedule_beats_its_work_or_its_longest_chain(course: Course, slots: int) -> None:
    found = forecast([course], slots, suggestion_seconds=0)
    total = found.total.seconds
    assert found.wall_seconds >= total / slots - 1e-6
    assert found.wall_seconds <= total + 1e-6
    assert 0 <= found.busy <= 1 + 1e-9
    assert 1 <= found.peak <= slots
    # With a lookahead of 1, no bracket's first rung begins before the one before is over.
    if course.ladder.lookahead == 1:
        full = course.ladder.configurations[0]
        first_rungs = 0.0
        for bracket in range(1, course.ladder.brackets + 1):
            held = course.ladder.slots(bracket, 1)
            if course.configurations is not None:
                held = max(0, min(held, course.configurations - (bracket - 1) * full))
            configs = range((bracket - 1) * full + 1, (bracket - 1) * full + 1 + held)
            first_rungs += max((course.seconds_of(Segment(c, 1, s)) for c in configs for s in course.seeds), default=0)
        assert found.wall_seconds >= first_rungs - 1e-6


@untimed
@given(courses("one"), courses("other"))
def test_one_slot_takes_the_sum_of_all_arms(one: Course, other: Course) -> None:
    found = forecast([one, other], 1, suggestion_seconds=0)
    assert found.wall_seconds == pytest.approx(found.total.seconds)
    assert found.busy == pytest.approx(1)
    alone = [forecast([course], 1, suggestion_seconds=0) for course in (one, other)]
    assert found.total.segments == sum(each.total.segments for each in alone)


@untimed
@given(courses(), st.integers(1, 6), st.data())
def test_what_is_known_is_not_computed_again(course: Course, slots: int, data: st.DataObject) -> None:
    outcomes, held = played_by_the_whole_ladder(course)
    brackets_done = data.draw(st.integers(0, course.ladder.brackets))
    known = {t: o for t, o in outcomes.items() if course.ladder.bracket_of(t.config) <= brackets_done}
    begun = replace(
        course,
        known=frozenset(Segment(t.config, t.rung, seed) for t in known for seed in course.seeds),
        outcomes=known,
        held={bracket: count for bracket, count in held.items() if bracket <= brackets_done},
    )
    whole, left = forecast([course], slots), forecast([begun], slots)
    assert left.total.segments == whole.total.segments - len(known) * len(course.seeds)
    if len(known) == len(outcomes):
        assert left.total.seconds == 0


def test_the_papers_arm_fills_ten_slots() -> None:
    course = Course("grown-4", Ladder((10, 7, 5, 4), 200), range(5), lambda segment: 600.0)
    found = forecast([course], 10)
    assert segments_by_rung(found, "grown-4") == {1: 400, 2: 280, 3: 180, 4: 140}
    assert found.peak == 10
    assert 0.95 < found.busy <= 1
    assert forecast([course], 1000).busy < 0.2  # one bracket after the other: far fewer segments than slots


def test_more_open_brackets_use_more_slots() -> None:
    narrow = Course("a", Ladder((4, 2), 60, lookahead=1), (0,), lambda segment: 100.0)
    wide = replace(narrow, ladder=replace(narrow.ladder, lookahead=4))
    assert forecast([wide], 16).wall_seconds < 0.5 * forecast([narrow], 16).wall_seconds


def test_a_bracket_waits_for_its_suggestion() -> None:
    course = Course("a", Ladder((1,), 3), (0,), lambda segment: 10.0)
    assert forecast([course], 4, suggestion_seconds=2).wall_seconds == 3 * 12


@pytest.mark.parametrize("ladder", [Ladder((10, 7, 5, 4), 2000), Ladder((1,), 2000)])
def test_the_work_grows_with_the_segments_alone(ladder: Ladder) -> None:
    """Counted in calls of functions, which no other work on the machine changes."""

    def calls(trials: int) -> int:
        count = 0

        def called(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        course = Course("a", replace(ladder, trials=trials), range(5), lambda segment: 60.0)
        sys.setprofile(called)
        try:
            found = forecast([course], 50)
        finally:
            sys.setprofile(None)
        assert found.total.segments == trials * 5
        return count

    assert calls(1600) < 10 * calls(200)  # eight times the segments; quadratic would be 64 times the work


def test_what_cannot_be_played_is_refused() -> None:
    course = Course("a", Ladder((1,), 1), (0,), lambda segment: 0.0)
    with pytest.raises(ValueError, match=r"c0001/s0/r1 takes 0\.0 seconds"):
        forecast([course], 1)
    with pytest.raises(ValueError, match="slots = 0"):
        forecast([course], 0)
