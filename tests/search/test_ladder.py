"""The ladder: which trials, in which order, from which outcomes; whatever the order of arrival."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grownn_hpo.search.ladder import (
    Ladder,
    incumbent,
    needed_segments,
    observations_for,
    plan,
    rung_progress,
    spent,
)
from grownn_hpo.spec import Arm
from grownn_hpo.trial import Outcome, Segment, Status, Trial

untimed = settings(deadline=None)  # a busy machine is no fault of the ladder's

PAPER = Ladder((10, 7, 5, 4), trials=200)


def completed(cost: float) -> Outcome:
    return Outcome(Status.COMPLETED, cost)


DIVERGED, CRASHED = Outcome(Status.DIVERGED, None), Outcome(Status.CRASHED, None)


@dataclass(frozen=True)
class World:
    """A ladder, what every trial would come to, and how many configurations there are at all."""

    ladder: Ladder
    seed: int
    failing: float
    space: int

    def outcome(self, trial: Trial) -> Outcome:
        rng = random.Random(f"{self.seed}/{trial.config}/{trial.rung}")
        if rng.random() < self.failing:
            return rng.choice((DIVERGED, CRASHED))
        return completed(rng.choice((rng.gauss(0, 1), float(rng.randint(0, 2)))))  # ties happen

    def held(self, bracket: int) -> int:
        first = self.ladder.first_config(bracket)
        return max(0, min(self.ladder.configurations[0], self.space - first + 1))


@dataclass(frozen=True)
class Run:
    """What a simulated study did."""

    outcomes: dict[Trial, Outcome]
    brackets: dict[int, int]
    suggested_from: dict[int, tuple[tuple[Trial, Outcome], ...]]
    order: list[Trial]


def simulate(world: World, workers: int, arrival: random.Random, stop_after: int | None = None) -> Run:
    """Run to the end with so many workers, each trial finishing at a random time."""
    run = Run({}, {}, {}, [])
    in_flight: list[Trial] = []
    while stop_after is None or len(run.outcomes) < stop_after:
        now = plan(world.ladder, run.brackets, run.outcomes)
        if now.complete:
            break
        if now.suggest is not None:
            run.suggested_from[now.suggest] = observations_for(world.ladder, now.suggest, run.outcomes)
            run.brackets[now.suggest] = world.held(now.suggest)
        waiting = [trial for trial in now.needed if trial not in in_flight]
        in_flight += waiting[: workers - len(in_flight)]
        if in_flight:
            done = in_flight.pop(arrival.randrange(len(in_flight)))
            assert done not in run.outcomes
            run.outcomes[done] = world.outcome(done)
            run.order.append(done)
    return run


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    counts = sorted(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)), reverse=True)
    return Ladder(
        tuple(counts),
        trials=draw(st.integers(1, 5 * sum(counts))),
        lookahead=draw(st.integers(1, 4)),
        surrogate=draw(st.sampled_from(("lowest", "highest", "all"))),
    )


worlds = st.builds(
    World,
    ladder=ladders(),
    seed=st.integers(0, 2**16),
    failing=st.sampled_from((0.0, 0.2, 0.7, 1.0)),
    space=st.one_of(st.just(10**9), st.integers(0, 25)),
)
randoms = st.integers(0, 2**16).map(random.Random)


@untimed
@given(worlds, st.integers(2, 40), randoms)
def test_the_answer_depends_neither_on_arrival_nor_on_the_number_of_workers(
    world: World, workers: int, arrival: random.Random
) -> None:
    alone, many = simulate(world, 1, random.Random(0)), simulate(world, workers, arrival)
    assert alone.outcomes == many.outcomes
    assert alone.brackets == many.brackets
    assert alone.suggested_from == many.suggested_from


@untimed
@given(worlds, st.integers(1, 8), randoms)
def test_no_rung_takes_more_than_its_slots_and_only_the_best_completed_go_on(
    world: World, workers: int, arrival: random.Random
) -> None:
    ladder, run = world.ladder, simulate(world, workers, arrival)
    assert len(set(run.order)) == len(run.order) == len(run.outcomes) <= ladder.trials
    for bracket in range(1, ladder.brackets + 1):
        for rung in range(1, ladder.rungs + 1):
            here = {t for t in run.outcomes if (ladder.bracket_of(t.config), t.rung) == (bracket, rung)}
            assert len(here) <= ladder.slots(bracket, rung) <= ladder.configurations[rung - 1]
            if rung == 1:
                continue
            below = {t for t in run.outcomes if (ladder.bracket_of(t.config), t.rung) == (bracket, rung - 1)}
            fit = sorted((run.outcomes[t].cost, t.config) for t in below if run.outcomes[t].status is Status.COMPLETED)
            assert {t.config for t in here} == {config for _, config in fit[: ladder.slots(bracket, rung)]}


@untimed
@given(worlds, st.integers(1, 30), st.integers(1, 8), randoms)
def test_extending_keeps_what_was_computed_and_what_was_learned_from(
    world: World, more: int, workers: int, arrival: random.Random
) -> None:
    longer = replace(world, ladder=replace(world.ladder, trials=world.ladder.trials + more))
    short, long = simulate(world, workers, arrival), simulate(longer, workers, arrival)
    assert short.outcomes.items() <= long.outcomes.items()
    assert short.suggested_from.items() <= long.suggested_from.items()
    # Extending the finished study is the same as having asked for more at once.
    now = plan(longer.ladder, short.brackets, short.outcomes)
    assert set(now.needed) <= long.outcomes.keys() - short.outcomes.keys()


@untimed
@given(worlds, st.integers(1, 8), randoms, st.integers(0, 40))
def test_a_checkpoint_is_spent_only_when_nothing_can_start_from_it(
    world: World, workers: int, arrival: random.Random, stop_after: int
) -> None:
    half = simulate(world, workers, arrival, stop_after)
    gone = set(spent(world.ladder, half.brackets, half.outcomes))
    assert gone <= half.outcomes.keys()
    # Whatever the rest comes to and however far the budget is extended, nothing still to run starts from one of them.
    for seed in range(3):
        other = replace(world, seed=seed, ladder=replace(world.ladder, trials=world.ladder.trials + 50))
        outcomes, brackets = dict(half.outcomes), dict(half.brackets)
        while not (now := plan(other.ladder, brackets, outcomes)).complete:
            if now.suggest is not None:
                brackets[now.suggest] = other.held(now.suggest)
            for trial in now.needed:
                assert Trial(trial.config, trial.rung - 1) not in gone
            outcomes |= {trial: other.outcome(trial) for trial in now.needed}
    # At the end of a ladder that the budget does not cut, nothing is kept for later.
    whole = replace(world, ladder=replace(world.ladder, trials=2 * world.ladder.slots_per_bracket))
    run = simulate(whole, 1, arrival)
    assert set(spent(whole.ladder, run.brackets, run.outcomes)) == run.outcomes.keys()


@untimed
@given(worlds, st.integers(1, 8), randoms, st.integers(0, 40))
def test_progress_adds_up(world: World, workers: int, arrival: random.Random, stop_after: int) -> None:
    ladder, half = world.ladder, simulate(world, workers, arrival, stop_after)
    rows = rung_progress(ladder, half.brackets, half.outcomes)
    assert sum(row.slots for row in rows) == ladder.trials
    assert sum(row.known for row in rows) == len(half.outcomes)
    assert sum(row.failed for row in rows) == sum(o.status is not Status.COMPLETED for o in half.outcomes.values())
    done = all(row.known + row.void == row.slots for row in rows)
    assert done == plan(ladder, half.brackets, half.outcomes).complete


def test_the_papers_ladder_unfolds_bracket_by_bracket() -> None:
    assert PAPER.brackets == 8  # 26 slots each
    assert plan(PAPER, {}, {}).suggest == 1
    first = [Trial(config, 1) for config in range(1, 11)]
    now = plan(PAPER, {1: 10}, {})
    assert now.needed == tuple(first)
    assert now.suggest is None
    outcomes: dict[Trial, Outcome] = {trial: completed(float(-trial.config)) for trial in first}
    outcomes |= {Trial(10, 1): DIVERGED, Trial(9, 1): CRASHED}
    now = plan(PAPER, {1: 10}, outcomes)
    assert now.needed == tuple(Trial(config, 2) for config in range(2, 9))
    assert now.suggest == 2


def test_equal_costs_go_to_the_lower_number() -> None:
    ladder = Ladder((3, 1), trials=4)
    outcomes = {Trial(3, 1): completed(1.0), Trial(2, 1): completed(1.0), Trial(1, 1): completed(2.0)}
    assert plan(ladder, {1: 3}, outcomes).needed == (Trial(2, 2),)


def test_a_budget_that_ends_inside_a_rung_runs_the_best_promotions() -> None:
    ladder = Ladder((4, 3), trials=6)
    outcomes = {Trial(config, 1): completed(float(5 - config)) for config in range(1, 5)}
    assert plan(ladder, {1: 4}, outcomes).needed == (Trial(3, 2), Trial(4, 2))


def test_a_slot_that_cannot_be_filled_is_used_up() -> None:
    ladder = Ladder((2, 2), trials=5)
    outcomes = {Trial(1, 1): completed(0.0), Trial(2, 1): CRASHED, Trial(1, 2): completed(0.0)}
    assert plan(ladder, {1: 2, 2: 2}, outcomes).needed == (Trial(3, 1),)


@pytest.mark.parametrize(
    ("surrogate", "rungs"), [("lowest", {1: [1, 2]}), ("highest", {1: [1, 2], 2: [1]}), ("all", {1: [1, 2], 2: [1]})]
)
def test_a_higher_rung_counts_one_bracket_later(surrogate: str, rungs: Mapping[int, list[int]]) -> None:
    ladder = Ladder((1, 1, 1), trials=30, surrogate=surrogate)  # type: ignore[arg-type]
    outcomes = {Trial(config, rung): completed(0.0) for config in (4, 3, 2, 1) for rung in (1, 2, 3)}
    seen: dict[int, list[int]] = {}
    for trial, _ in observations_for(ladder, 3, outcomes):
        seen.setdefault(trial.rung, []).append(trial.config)
    assert seen == rungs


def test_a_bracket_waits_for_every_rung_that_it_learns_from() -> None:
    ladder = Ladder((1, 1), trials=20, surrogate="all")
    known = {Trial(1, 1): completed(0.0), Trial(2, 1): completed(0.0)}
    assert plan(ladder, {1: 1, 2: 1}, known).suggest is None
    assert plan(ladder, {1: 1, 2: 1}, known | {Trial(1, 2): CRASHED}).suggest == 3


def test_lookahead_opens_that_many_brackets_at_once() -> None:
    ladder = Ladder((2, 1), trials=30, lookahead=3)
    assert [plan(ladder, dict.fromkeys(range(1, opened), 2), {}).suggest for opened in (1, 2, 3, 4)] == [1, 2, 3, None]
    assert plan(ladder, {1: 2, 2: 2, 3: 2}, {Trial(1, 1): DIVERGED, Trial(2, 1): completed(0.0)}).suggest == 4


def test_a_bracket_that_could_not_be_filled_ends_the_study() -> None:
    ladder = Ladder((2,), trials=100)
    outcomes = {Trial(config, 1): completed(0.0) for config in (1, 2, 3)}
    assert plan(ladder, {1: 2}, outcomes).suggest == 2
    assert plan(ladder, {1: 2, 2: 1}, outcomes).complete
    assert plan(ladder, {1: 2, 2: 0}, outcomes).complete


def test_the_incumbent_is_never_compared_across_rungs() -> None:
    outcomes = {Trial(1, 1): completed(-9.0), Trial(2, 2): completed(-1.0), Trial(3, 2): completed(-1.0)}
    assert incumbent(outcomes | {Trial(4, 3): DIVERGED}) == Trial(2, 2)
    assert incumbent({Trial(1, 1): CRASHED}) is None


def test_segments_are_dispatched_higher_rungs_first() -> None:
    trials = (Trial(1, 1), Trial(12, 1), Trial(2, 2))
    assert needed_segments(trials, (1, 0), {Segment(1, 1, 0)}) == (
        Segment(2, 2, 0),
        Segment(2, 2, 1),
        Segment(1, 1, 1),
        Segment(12, 1, 0),
        Segment(12, 1, 1),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"configurations": ()},
        {"configurations": (2, 3)},
        {"configurations": (0,)},
        {"configurations": (1,), "trials": 0},
        {"configurations": (1,), "lookahead": 0},
    ],
)
def test_an_impossible_ladder_cannot_exist(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|one positive count"):
        Ladder(**{"trials": 1, **wrong})  # type: ignore[arg-type]


def test_an_arms_ladder() -> None:
    arm = {
        "study": "s",
        "name": "grown-2",
        "seed": 0,
        "seeds": (0,),
        "task": {"env": "CartPole-v1"},
        "space": {},
        "network": {"kind": "mlp"},
        "search": {"trials": 30, "lookahead": 2, "surrogate": "all"},
        "rungs": (
            {"env_steps": 10, "depth": 1, "configurations": 3},
            {"env_steps": 10, "depth": 2, "configurations": 2},
        ),
    }
    assert Ladder.of(Arm.model_validate(arm)) == Ladder((3, 2), 30, 2, "all")
    with pytest.raises(ValueError, match="must be resolved"):
        Ladder.of(Arm.model_validate({**arm, "search": {"trials": 30, "lookahead": "auto"}}))
