"""How long a study will take: the real ladder played through with artificial outcomes, on a clock that costs nothing.

A discrete-event simulation of `drive`: the same plans, the same priorities, one thread that suggests brackets, and
`slots` segments at a time. Which configurations are promoted is drawn at random, once per configuration; nothing fails.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from grownn_hpo.search.ladder import Ladder, Outcomes, needed_segments, plan
from grownn_hpo.trial import Outcome, Segment, Status, Trial

SUGGESTION_SECONDS = 1.0
"""What SMAC takes for a bracket's configurations (0.4 to 1.4 s were seen); a bracket waits for it, no slot does."""

SecondsOf = Callable[[Segment], float]


@dataclass(frozen=True, slots=True)
class Course:
    """An arm as a forecast sees it: its ladder and seeds, what each segment takes, and what is known already.

    `known` are segments with a result, `outcomes` those of whole trials; `held` says how many configurations each
    stored bracket holds. `configurations` is how many the search space has, None where it has no end.
    """

    name: str
    ladder: Ladder
    seeds: Sequence[int]
    seconds_of: SecondsOf
    configurations: int | None = None
    known: Collection[Segment] = frozenset()
    outcomes: Outcomes = field(default_factory=dict)
    held: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """So many segments, and the seconds that they take together on one slot each."""

    segments: int = 0
    seconds: float = 0.0

    def and_one(self, seconds: float) -> Work:
        return Work(self.segments + 1, self.seconds + seconds)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What came of playing courses through.

    `work` is by course and rung (from 1). `peak` is how many slots were ever in use at once.
    """

    slots: int
    wall_seconds: float
    peak: int
    work: Mapping[str, Mapping[int, Work]]

    @property
    def total(self) -> Work:
        """All courses together."""
        every = [work for rungs in self.work.values() for work in rungs.values()]
        return Work(sum(work.segments for work in every), math.fsum(work.seconds for work in every))

    @property
    def busy(self) -> float:
        """The share of the slots' time that is training, 0 to 1; 1 where there is nothing to do."""
        available = self.wall_seconds * self.slots
        return self.total.seconds / available if available else 1.0


def forecast(courses: Sequence[Course], slots: int, suggestion_seconds: float = SUGGESTION_SECONDS) -> Forecast:
    """Play all courses through on common slots, as `drive` would; the time it takes is linear in the segments.

    Raises ValueError where a segment takes no finite time, or there is no slot.
    """
    if slots < 1:
        raise ValueError(f"slots = {slots}: must be at least 1")
    return _Simulation(courses, slots, suggestion_seconds).run()


class _Play:
    """One course being played: what is known of it by now.

    A plan is shown the brackets that are open and the next one alone, numbered from 1, for it takes time for each that
    it is shown and depends on no other. Brackets that are over are dropped.
    """

    def __init__(self, course: Course) -> None:
        self.course, self.name = course, course.name
        self.ladder = course.ladder
        self.dropped = 0
        self.work: dict[int, Work] = {rung: Work() for rung in range(1, course.ladder.rungs + 1)}
        self._held, self._outcomes = dict(course.held), dict(course.outcomes)
        self._submitted = set(course.known)
        self._asked = 0
        self._missing: dict[Trial, int] = {}
        self._waited_for: dict[tuple[int, int], int] = {}  # (bracket, rung) -> trials without an outcome

    def fold(self) -> tuple[tuple[Segment, ...], int | None]:
        """The segments to submit now, and the bracket to suggest; each is given out once."""
        now = plan(self._up_to_bracket(max(self._held, default=0) + 1), self._held, self._outcomes)
        first = min((self.ladder.bracket_of(trial.config) for trial in now.needed), default=self.ladder.brackets + 1)
        trials = [Trial(self._absolute(trial.config), trial.rung) for trial in now.needed]
        segments = needed_segments(trials, self.course.seeds, self._submitted)
        self._submitted.update(segments)
        for segment in segments:
            self._missing[segment.trial] = self._missing.get(segment.trial, 0) + 1
        bracket = None if now.suggest is None else now.suggest + self.dropped
        self._drop(first - 1)
        self._waited_for = {}
        for trial in trials:
            self._waited_for[self._place(trial)] = self._waited_for.get(self._place(trial), 0) + 1
        if bracket is None or bracket <= self._asked:
            return segments, None
        self._asked = bracket
        return segments, bracket

    def store_bracket(self, bracket: int) -> None:
        full = self.ladder.configurations[0]
        there_are = self.course.configurations
        left = full if there_are is None else there_are - (bracket - 1) * full
        self._held[bracket - self.dropped] = max(0, min(full, left))

    def take(self, segment: Segment) -> bool:
        """Take in that a segment ended; whether that may let others begin: only a whole rung does."""
        trial = segment.trial
        self._missing[trial] -= 1
        if self._missing[trial]:
            return False
        del self._missing[trial]
        cost = random.Random(f"{self.name}/{trial.config}").random()
        self._outcomes[Trial(self._relative(trial.config), trial.rung)] = Outcome(Status.COMPLETED, cost)
        place = self._place(trial)
        self._waited_for[place] -= 1
        return self._waited_for[place] == 0

    def _drop(self, over: int) -> None:
        """Forget the first `over` brackets, as far as they are there and others follow them."""
        full = self.ladder.configurations[0]
        over = min(over, self.ladder.brackets - 1, next(b for b in itertools.count() if self._held.get(b + 1) != full))
        if over < 1:
            return
        last = over * full
        self.dropped += over
        self.ladder = replace(self.ladder, trials=self.ladder.trials - over * self.ladder.slots_per_bracket)
        self._held = {b - over: held for b, held in self._held.items() if b > over}
        self._outcomes = {Trial(t.config - last, t.rung): o for t, o in self._outcomes.items() if t.config > last}

    def _up_to_bracket(self, bracket: int) -> Ladder:
        return replace(self.ladder, trials=min(self.ladder.trials, bracket * self.ladder.slots_per_bracket))

    def _place(self, trial: Trial) -> tuple[int, int]:
        return self.course.ladder.bracket_of(trial.config), trial.rung

    def _absolute(self, config: int) -> int:
        return config + self.dropped * self.ladder.configurations[0]

    def _relative(self, config: int) -> int:
        return config - self.dropped * self.ladder.configurations[0]


class _Simulation:
    """The clock, the slots, the queue before them, and the thread that suggests."""

    def __init__(self, courses: Sequence[Course], slots: int, suggestion_seconds: float) -> None:
        self._plays = [_Play(course) for course in courses]
        self._slots, self._free, self._peak = slots, slots, 0
        self._suggestion_seconds = suggestion_seconds
        self._clock = self._thinking_until = 0.0
        self._order = itertools.count()
        self._queue: list[tuple[tuple[int, int, int], int, _Play, Segment]] = []
        self._events: list[tuple[float, int, _Play, Segment | int]] = []  # a segment ends, or a bracket is suggested

    def run(self) -> Forecast:
        for play in self._plays:
            self._fold(play)
        for play, event in self._happenings():
            if isinstance(event, int):
                play.store_bracket(event)
                self._fold(play)
            else:
                self._free += 1
                self._start()  # a slot takes what waits before the driver has looked at the result
                if play.take(event):
                    self._fold(play)
        work = {play.name: play.work for play in self._plays}
        return Forecast(self._slots, self._clock, self._peak, work)

    def _happenings(self) -> Iterator[tuple[_Play, Segment | int]]:
        while self._events:
            self._clock, _, play, event = heapq.heappop(self._events)
            yield play, event

    def _fold(self, play: _Play) -> None:
        segments, bracket = play.fold()
        for segment in segments:
            priority = (-segment.rung, segment.config, segment.seed)
            heapq.heappush(self._queue, (priority, next(self._order), play, segment))
        if bracket is not None:
            self._thinking_until = max(self._clock, self._thinking_until) + self._suggestion_seconds
            heapq.heappush(self._events, (self._thinking_until, next(self._order), play, bracket))
        self._start()

    def _start(self) -> None:
        while self._free and self._queue:
            _, _, play, segment = heapq.heappop(self._queue)
            seconds = play.course.seconds_of(segment)
            if not 0 < seconds < math.inf:
                raise ValueError(f"{segment} takes {seconds!r} seconds: must be a finite time above 0")
            self._free -= 1
            self._peak = max(self._peak, self._slots - self._free)
            play.work[segment.rung] = play.work[segment.rung].and_one(seconds)
            heapq.heappush(self._events, (self._clock + seconds, next(self._order), play, segment))
