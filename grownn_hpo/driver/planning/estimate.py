"""What a study will cost: each rung's seconds, as measured or rehearsed, played through on the slots there are."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from grownn_hpo.driver.arms import OpenArm
from grownn_hpo.driver.planning.effort import Effort
from grownn_hpo.driver.planning.forecast import Course, Forecast, Work, forecast
from grownn_hpo.driver.planning.rates import RungRates, read_rates
from grownn_hpo.driver.planning.rehearsals import Rehearsed, Stage, rehearse
from grownn_hpo.search.ladder import Ladder
from grownn_hpo.search.space import Plain, all_configurations, read_space
from grownn_hpo.search.suggest import Basis, suggest
from grownn_hpo.spec import Arm, configured, legs_of
from grownn_hpo.store.arm import configurations_of
from grownn_hpo.store.known import Known, known_of
from grownn_hpo.store.ledger import Ledger
from grownn_hpo.trial import Segment, outcomes_of

SAMPLES = 64
"""So many of the study's Sobol sequence stand for all its configurations; the initial design is the first of them."""
_LINE_BYTES = 100  # of a curve, or of the progress


class Source(StrEnum):
    """Where a rung's seconds come from."""

    MEASURED = "measured"  # this study's own segments on this rung
    SCALED = "scaled"  # a rehearsal, times what measured segments of another rung took by their rehearsal
    REHEARSED = "rehearsed"  # a rehearsal on this machine


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds of a rung's segments: of the configurations that are `known`, and `samples` that stand for the others."""

    known: Mapping[int, float]
    samples: Sequence[float]

    def of(self, config: int) -> float:
        return self.known.get(config) or self.samples[(config - 1) % len(self.samples)]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.samples)

    @property
    def longest(self) -> float:
        return max(*self.samples, *self.known.values(), 0.0)

    def times(self, factor: float) -> Durations:
        known = {config: seconds * factor for config, seconds in self.known.items()}
        return Durations(known, [seconds * factor for seconds in self.samples])


@dataclass(frozen=True, slots=True)
class RungEstimate:
    """One rung: what a segment takes (mean; longest leg of the slowest configuration), and how many there are."""

    rung: int
    env: str
    depth: int
    env_steps: int
    source: Source
    segment_seconds: float
    longest_leg_env_steps: int
    longest_leg_seconds: float
    segment_bytes: float
    memory_gib: float
    whole: Work
    left: Work

    @property
    def env_steps_per_second(self) -> float:
        return self.env_steps / self.segment_seconds


@dataclass(frozen=True, slots=True)
class ArmEstimate:
    """One arm, alone on all slots: from its beginning, and from where it stands (the same while it has not begun).

    `rungs` are those that the budget reaches.
    """

    arm: Arm
    begun: bool
    rungs: tuple[RungEstimate, ...]
    whole: Forecast
    left: Forecast

    @property
    def env_steps(self) -> int:
        return sum(rung.env_steps * rung.whole.segments for rung in self.rungs)

    @property
    def bytes(self) -> float:
        return sum(rung.segment_bytes * rung.whole.segments for rung in self.rungs)


@dataclass(frozen=True, slots=True)
class Fuller:
    """A larger `search.lookahead`, and what the rest of the study would take with it."""

    lookahead: int
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class StudyEstimate:
    """All arms on common slots; `fuller` where slots idle that more open brackets would fill."""

    study: str
    arms: tuple[ArmEstimate, ...]
    whole: Forecast
    left: Forecast
    fuller: Fuller | None


def estimate(opened: Sequence[OpenArm], slots: int, tell: Callable[[str], None]) -> StudyEstimate:
    """What driving these arms on `slots` slots takes; rehearses what was not measured, and writes nothing.

    Raises GrowNNError where a rehearsal fails.
    """
    known = [_Known(each) for each in opened]
    rehearsed = rehearse([stage for each in known for stage in each.to_rehearse()], tell)
    durations = [each.durations(rehearsed) for each in known]
    begun = [each.course(by_rung) for each, by_rung in zip(known, durations, strict=True)]
    afresh = [replace(course, known=frozenset(), outcomes={}, held={}) for course in begun]
    arms = tuple(
        _arm_estimate(each, by_rung, rehearsed, forecast([whole], slots), forecast([left], slots))
        for each, by_rung, whole, left in zip(known, durations, afresh, begun, strict=True)
    )
    left = forecast(begun, slots)
    return StudyEstimate(opened[0].arm.study, arms, forecast(afresh, slots), left, _fuller(begun, left))


class _Known:
    """What is known of an arm before anything is rehearsed."""

    def __init__(self, opened: OpenArm) -> None:
        self.arm, self._folder = opened.arm, opened.folder
        self.begun = opened.folder.study_file.exists()
        known = known_of(opened.folder, opened.arm) if self.begun else Known(opened.arm, {}, Ledger())
        self.ledger, self.brackets = known.ledger, known.brackets
        self.ladder = Ladder.of(opened.arm)
        self.reached = [rung for rung in range(1, self.ladder.rungs + 1) if self.ladder.slots(1, rung)]

    @cached_property
    def rates(self) -> Mapping[int, RungRates]:
        return read_rates(self._folder, self.arm, self.ledger)

    @cached_property
    def samples(self) -> tuple[Plain, ...]:
        """The first configurations of the study's own initial design, at most as many as it will try."""
        count = min(SAMPLES, self.ladder.brackets * self.ladder.configurations[0])
        arm = self.arm
        return suggest(
            Basis(arm.space, arm.seed, 1, 1, count, count, (), (), (1,), "lowest", arm.search.begin_with_default)
        )

    def measured_near(self, rung: int) -> int | None:
        """The measured rung nearest to `rung`, the lower of two; None if nothing was measured."""
        return min(self.rates, key=lambda measured: (abs(measured - rung), measured), default=None)

    def to_rehearse(self) -> list[Stage]:
        missing = [rung for rung in self.reached if rung not in self.rates]
        beside = {near for rung in missing if (near := self.measured_near(rung)) is not None}
        return [Stage(self.arm, rung, self.samples) for rung in sorted({*missing, *beside})]

    def durations(self, rehearsed: Rehearsed) -> dict[int, Durations]:
        """By rung (from 1), for those that the budget reaches."""
        return {rung: self._durations(rung, rehearsed) for rung in self.reached}

    def source(self, rung: int) -> Source:
        if rung in self.rates:
            return Source.MEASURED
        return Source.SCALED if self.rates else Source.REHEARSED

    def course(self, durations: Mapping[int, Durations]) -> Course:
        """The arm from where it stands."""
        everything = all_configurations(read_space(self.arm.space, self.arm.study))
        return Course(
            name=self.arm.name,
            ladder=self.ladder,
            seeds=self.arm.seeds,
            seconds_of=lambda segment: durations[segment.rung].of(segment.config),
            configurations=None if everything is None else len(everything),
            known=frozenset[Segment](self.ledger.entries),
            outcomes=outcomes_of(self.ledger.results, self.arm.seeds),
            held={number: len(bracket.configurations) for number, bracket in self.brackets.items()},
        )

    def _durations(self, rung: int, rehearsed: Rehearsed) -> Durations:
        if (rates := self.rates.get(rung)) is not None:
            return Durations(rates.seconds, list(rates.seconds.values()))
        own = self._rehearsed(rung, rehearsed)
        near = self.measured_near(rung)
        if near is None:
            return own
        beside, seconds = self._rehearsed(near, rehearsed), self.rates[near].seconds
        return own.times(sum(seconds.values()) / sum(beside.of(config) for config in seconds))

    def _rehearsed(self, rung: int, rehearsed: Rehearsed) -> Durations:
        effort = rehearsed.effort(self.arm, rung)
        stored = configurations_of(self.brackets, self.ladder.configurations[0])
        return Durations(
            {config: _segment_seconds(effort, self.arm, rung, plain) for config, plain in stored.items()},
            [_segment_seconds(effort, self.arm, rung, plain) for plain in self.samples],
        )


def _segment_seconds(effort: Effort, arm: Arm, rung: int, configuration: Plain) -> float:
    settings = configured(arm.ppo, configuration)
    return effort.segment_seconds(settings, arm.task.envs, legs_of(arm, rung, configuration), arm.evaluation)


def _arm_estimate(
    known: _Known, durations: Mapping[int, Durations], rehearsed: Rehearsed, whole: Forecast, left: Forecast
) -> ArmEstimate:
    arm = known.arm
    rungs = []
    for number, took in durations.items():
        rung = arm.rungs[number - 1]
        legs = legs_of(arm, number, {})
        size, memory = _size(known, number, rehearsed)
        rungs.append(
            RungEstimate(
                rung=number,
                env=arm.env_of(number),
                depth=rung.depth,
                env_steps=rung.env_steps,
                source=known.source(number),
                segment_seconds=took.mean,
                longest_leg_env_steps=max(legs),
                longest_leg_seconds=took.longest * max(legs) / sum(legs),
                segment_bytes=size,
                memory_gib=memory,
                whole=whole.work[arm.name][number],
                left=left.work[arm.name][number],
            )
        )
    return ArmEstimate(arm, known.begun, tuple(rungs), whole, left)


def _size(known: _Known, rung: int, rehearsed: Rehearsed) -> tuple[float, float]:
    """Bytes that a segment of the rung leaves on disk, and GiB of memory that it takes."""
    arm = known.arm
    if rates := known.rates.get(rung):
        sizes = [found.segment_bytes for found in known.rates.values() if found.segment_bytes is not None]
        # Where all of this rung's checkpoints were cleaned away, the largest there is of another.
        size = rates.segment_bytes if rates.segment_bytes is not None else max(sizes, default=0.0)
        return size, rates.memory_gib
    effort = rehearsed.effort(arm, rung)
    rollouts = arm.rungs[rung - 1].env_steps / (arm.ppo.n_steps * arm.task.envs)
    lines = rollouts + min(rollouts, arm.evaluation.rounds)
    return effort.checkpoint_bytes + effort.record_bytes + _LINE_BYTES * lines, effort.memory_gib


def _fuller(courses: Sequence[Course], now: Forecast) -> Fuller | None:
    """The smallest lookahead whose first rungs fill the slots, where they idle most of the time without."""
    if now.busy >= 0.5:
        return None
    in_first_rungs = sum(course.ladder.configurations[0] * len(course.seeds) for course in courses)
    lookahead = -(-now.slots // in_first_rungs)
    if all(course.ladder.lookahead >= lookahead for course in courses):
        return None
    ladders = [replace(each.ladder, lookahead=max(each.ladder.lookahead, lookahead)) for each in courses]
    wider = [replace(course, ladder=ladder) for course, ladder in zip(courses, ladders, strict=True)]
    return Fuller(lookahead, forecast(wider, now.slots))
