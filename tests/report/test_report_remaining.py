from __future__ import annotations

from collections.abc import Sequence

import pytest

from grownn_hpo.report.remaining import paces, seconds_left
from grownn_hpo.report.status import Running
from grownn_hpo.search.ladder import Ladder, rung_progress
from grownn_hpo.spec import Arm, Network, Rung, Search, Task
from grownn_hpo.store.ledger import Entry
from grownn_hpo.trial import Outcome, Segment, SegmentResult, Status, Trial, outcomes_of

ARM = Arm(
    study="s",
    name="a",
    seed=0,
    seeds=(0, 1),
    task=Task(env="CartPole-v1", envs=1),
    space={},
    network=Network(kind="mlp"),
    search=Search(trials=3, lookahead=1),
    rungs=(Rung(env_steps=1000, depth=1, configurations=2), Rung(env_steps=500, depth=2, configurations=1)),
)


def entry(config: int, rung: int, seed: int, seconds: float, env_steps: int | None = None) -> tuple[Segment, Entry]:
    segment = Segment(config, rung, seed)
    result = SegmentResult(segment, Status.COMPLETED, 1.0 / config, None, 0, rung, None, None, None)
    return segment, Entry(result, "a1", seconds, env_steps)


def running(config: int, rung: int, seed: int, env_steps: int, speed: float | None = None) -> Running:
    return Running(Segment(config, rung, seed), 1, env_steps, ARM.rungs[rung - 1].env_steps, speed, None)


def left(entries: dict[Segment, Entry], under_way: Sequence[Running]) -> float | None:
    outcomes: dict[Trial, Outcome] = outcomes_of({s: e.result for s, e in entries.items()}, ARM.seeds)
    return seconds_left(ARM, entries, outcomes, rung_progress(Ladder.of(ARM), {1: 2}, outcomes), under_way)


def test_an_attempt_from_a_boundary_tells_its_own_pace() -> None:
    whole = dict([entry(1, 1, 0, 100.0, 1000)])
    resumed = dict([entry(1, 1, 0, 25.0, 250)])
    assert paces(ARM, whole, ()) == paces(ARM, resumed, ()) == {1: 0.1, 2: 0.1}
    assert paces(ARM, dict([entry(1, 1, 0, 100.0)]), ()) == {1: 0.1, 2: 0.1}  # a commit of an earlier version
    both = whole | dict([entry(2, 1, 0, 50.0, 500)])
    assert left(both, [running(1, 1, 1, 0)]) == left(whole | dict([entry(2, 1, 0, 100.0, 1000)]), [running(1, 1, 1, 0)])


def test_a_rung_has_its_own_pace_or_that_of_the_segments_under_way_or_the_nearest() -> None:
    found = dict([entry(1, 1, 0, 100.0), entry(1, 2, 0, 100.0)])
    assert paces(ARM, found, [running(2, 1, 0, 10, 1.0)]) == {1: 0.1, 2: 0.2}
    assert paces(ARM, {}, [running(1, 1, 0, 10, 4.0), running(1, 1, 1, 10, 6.0)]) == {1: 0.2, 2: 0.2}
    assert paces(ARM, dict([entry(1, 2, 0, 100.0)]), ()) == {1: 0.2, 2: 0.2}
    assert paces(ARM, {}, [running(1, 1, 0, 10)]) is None


def test_what_is_left_is_spread_over_what_runs_and_the_done_seeds_of_open_trials_count() -> None:
    # Of four segments of 100 s, one is done and one half; then two of 50 s.
    entries = dict([entry(1, 1, 0, 100.0)])
    assert left(entries, [running(1, 1, 1, 500), running(2, 1, 0, 0)]) == pytest.approx((50 + 100 + 100 + 2 * 50) / 2)


def test_it_is_never_less_than_a_chain() -> None:
    entries = dict([entry(1, 1, 0, 100.0)])
    many = [running(1, 1, 1, 900), running(2, 1, 0, 900), running(2, 1, 1, 0)]
    assert left(entries, many) == pytest.approx(100 + 50)  # the last of rung 1, and then rung 2


def test_nobody_can_say_while_nothing_runs_or_has_run() -> None:
    assert left(dict([entry(1, 1, 0, 100.0)]), ()) is None
    assert left({}, [running(1, 1, 0, 0)]) is None


def test_a_finished_study_has_nothing_left_but_what_runs() -> None:
    entries = dict([entry(c, 1, s, 100.0) for c in (1, 2) for s in (0, 1)] + [entry(1, 2, 0, 60.0)])
    assert left(entries, [running(1, 2, 1, 500)]) == 0
