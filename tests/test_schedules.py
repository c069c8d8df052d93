"""Whatever happens in whatever order, a study comes to the ledger, promotions and incumbent of the undisturbed order.

The driver's own loop, the ladder and the store on a real folder are driven through schedules of events: results in any
order, attempts lost, killed, duplicated, torn or finishing late behind the next driver's back, kills of the driver,
damage while nobody drives. Only what is slow is stood in for: a segment's training, by a function of its configuration,
seed and rung, and SMAC, by a function of all that a bracket is suggested from.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduled import Cluster, Event, Happens, World, attempting, check, driven, schedules, undisturbed, worlds

from grownn_hpo.dispatch import Job
from grownn_hpo.search.ladder import Ladder, incumbent, needed_segments, plan
from grownn_hpo.store.ledger import read_ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Outcome, Segment, SegmentResult, Trial, outcomes_of

QUICK, LADDERS, MANY = 60, 1000, 40_000
untimed = settings(deadline=None, suppress_health_check=list(HealthCheck))  # a busy machine is no fault of ours


# In two halves, for two cores.
@pytest.mark.parametrize("lookahead", [1, 2])
@settings(untimed, max_examples=QUICK)
@given(data=st.data())
def test_whatever_happens_a_study_comes_to_the_same(lookahead: int, data: st.DataObject) -> None:
    check(replace(data.draw(worlds), lookahead=lookahead), data.draw(schedules))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(untimed, max_examples=MANY)
@given(worlds, schedules)
def test_whatever_happens_a_study_comes_to_the_same_very_often(world: World, schedule: list[Event]) -> None:
    check(world, schedule)


@pytest.mark.parametrize("what", Happens)
def test_every_event_alone_changes_nothing(what: Happens) -> None:
    """Each at every point of a study whose results come in order; what is generated above may miss one."""
    world = World((2, 1), trials=3, lookahead=1, surrogate="lowest", seeds=1, chance=0)
    for before, number in itertools.product(range(9), range(12 if what is Happens.DAMAGED else 2)):
        check(world, [(Happens.STEP, 0)] * before + [(what, number)])


def test_a_late_result_that_differs_is_told_loudly_and_does_not_count(tmp_path: Path) -> None:
    """The first attempt is given up for lost, the second counts; then the first comes, from a machine that errs."""
    world = World((2, 1), trials=6, lookahead=1, surrogate="lowest", seeds=1, chance=0)
    told: list[str] = []

    class Erring(Cluster):
        def _begin(self, job: Job, heard: bool) -> None:
            super()._begin(job, heard)
            if len(told) == len(self.alive) == 1:  # the first of them all
                self.alive[-1].steps = attempting(replace(world, chance=1), self.folder, job)

        def tell(self, line: str) -> None:
            told.append(line)

    begun, overtaken = [(Happens.STEP, 0)] * 3, [(Happens.STEP, 2)] * 4
    late = Erring(world, ArmFolder(tmp_path), iter([*begun, (Happens.FROZEN, 0), *overtaken]))
    driven(late)
    warnings = [line for line in told if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "c0001/s0/r1: attempts a2 and a1 differ, so this machine" in warnings[0]
    assert "a2 counts" in warnings[0]
    ledger = read_ledger(late.folder)
    assert ledger.results == undisturbed(world).results
    assert len(ledger.disagreements) == 1
    assert ledger.entries[Segment(1, 1, 0)].attempt == "a2"


# The ladder alone


orders = st.lists(st.integers(0, 99), max_size=30)


@settings(untimed, max_examples=LADDERS)
@given(worlds, orders)
def test_in_whatever_order_results_come_the_ladder_leads_to_the_same(world: World, order: list[int]) -> None:
    """Also where a result comes twice, and where one that was counted is taken back and computed again."""
    climb(world, order)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(untimed, max_examples=MANY)
@given(worlds, orders)
def test_in_whatever_order_results_come_the_ladder_leads_to_the_same_very_often(world: World, order: list[int]) -> None:
    climb(world, order)


def climb(world: World, order: list[int]) -> None:
    """Give the ladder its results in this order, and compare."""
    ladder = Ladder.of(world.arm())
    numbers = itertools.chain(order, itertools.repeat(0))
    results: dict[Segment, SegmentResult] = {}
    brackets: dict[int, int] = {}
    taken_back = 0
    while True:
        outcomes = outcomes_of(results, world.arm().seeds)
        now = plan(ladder, brackets, outcomes)
        if now.complete:
            break
        number = next(numbers)
        needed = needed_segments(now.needed, world.arm().seeds, results)
        if now.suggest is not None and (number % 2 or not needed):
            brackets[now.suggest] = ladder.configurations[0]
        elif results and number % 7 == 6 and taken_back < 10:
            taken_back += 1
            results.pop(sorted(results)[number % len(results)])
        else:
            segment = (needed or sorted(results))[number % len(needed or results)]
            results[segment] = world.result(segment, {}, None)
    assert (outcomes, incumbent(outcomes)) == in_order(world)


@cache
def in_order(world: World) -> tuple[dict[Trial, Outcome], Trial | None]:
    """The outcomes and the incumbent of a ladder that is climbed a trial at a time."""
    ladder, arm = Ladder.of(world.arm()), world.arm()
    outcomes: dict[Trial, Outcome] = {}
    brackets: dict[int, int] = {}
    while not (now := plan(ladder, brackets, outcomes)).complete:
        if now.needed:
            trial = now.needed[0]
            segments = [Segment(trial.config, trial.rung, seed) for seed in arm.seeds]
            outcomes[trial] = Outcome.of([world.result(segment, {}, None) for segment in segments])
        else:
            assert now.suggest is not None
            brackets[now.suggest] = ladder.configurations[0]
    return outcomes, incumbent(outcomes)
