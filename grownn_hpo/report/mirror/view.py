"""What every mirror is made of: an arm's trials and configurations, where each of them stands, and what was logged.

Other programs put trials on an axis of time. Theirs counts seconds of training from 0, as if the segments had been
trained one after the other in ladder order: the same study, the same mirror, whoever ran it on how many workers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean

from pydantic import JsonValue

from grownn_hpo.report.incumbent import by_trial, outcomes
from grownn_hpo.report.read import read_record
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.search.ladder import Ladder, plan, rung_progress
from grownn_hpo.store.curve import Tick, read_ticks
from grownn_hpo.store.known import read_known
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Outcome, Segment, SegmentResult, Status, Trial


class Fate(Enum):
    """Where a configuration stands on its way up the rungs.

    `PASSED_OVER`: it completed what it was given and nothing more is planned for it, since others were promoted or the
    budget ends there. `UNDER_WAY`: a trial of it is needed, or its promotion is not decided. `WAITING`: it was
    suggested, and the budget reaches no trial of it.
    """

    COMPLETE = "complete"
    PASSED_OVER = "passed over"
    FAILED = "failed"
    UNDER_WAY = "under way"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class TrialView:
    """One configuration at one rung; `outcome` is None while it is needed and not all of its seeds are done.

    `results` are those of the seeds that are, in the order of seeds. `env_steps` is the lineage's total at the rung's
    end, `starts` and `ends` are seconds on the axis of training time.
    """

    trial: Trial
    bracket: int
    depth: int
    env_steps: int
    outcome: Outcome | None
    results: tuple[SegmentResult, ...]
    starts: float
    ends: float

    @property
    def mean_return(self) -> float | None:
        """The mean over seeds; None unless the trial completed."""
        return None if self.outcome is None or self.outcome.cost is None else -self.outcome.cost

    @property
    def success_rate(self) -> float | None:
        """The mean over seeds; None unless the trial completed, and where the task has no notion of success."""
        rates = [r.success_rate for r in self.results if r.success_rate is not None]
        return fmean(rates) if self.mean_return is not None and len(rates) == len(self.results) else None

    @property
    def returns(self) -> dict[str, float | None]:
        """Each finished seed's mean return."""
        return {str(r.segment.seed): r.mean_return for r in self.results}

    @property
    def failures(self) -> dict[str, str]:
        """Why each seed that diverged or crashed did so."""
        return {str(r.segment.seed): r.detail or r.status for r in self.results if r.status is not Status.COMPLETED}


@dataclass(frozen=True, slots=True)
class Course:
    """One configuration's way up the rungs: its fate, and its trials from the lowest rung up."""

    config: int
    bracket: int
    configuration: Mapping[str, JsonValue]
    fate: Fate
    trials: tuple[TrialView, ...]

    @property
    def highest(self) -> TrialView | None:
        """Its completed trial on the highest rung."""
        return next((t for t in reversed(self.trials) if t.mean_return is not None), None)


@dataclass(frozen=True, slots=True)
class ArmView:
    """An arm as mirrors see it: its record, its trials in ladder order, its configurations, its segments' progress."""

    record: ArmRecord
    trials: tuple[TrialView, ...]
    courses: tuple[Course, ...]
    complete: bool
    ticks: Mapping[Segment, tuple[Tick, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.record.arm.name

    @property
    def study(self) -> str:
        return self.record.arm.study


def read_view(folder: ArmFolder, *, progress: bool) -> ArmView:
    """The arm in a folder, from its files alone, whether it runs, stands still or is complete.

    `progress`: with what its segments logged between evaluations.
    """
    record = read_record(folder)
    if not progress:
        return view_of(record)
    attempts = read_known(folder).ledger.entries
    return view_of(record, {s: read_ticks(folder.segment(s) / entry.attempt) for s, entry in attempts.items()})


def view_of(record: ArmRecord, ticks: Mapping[Segment, tuple[Tick, ...]] | None = None) -> ArmView:
    """The same from a record."""
    ladder, found = Ladder.of(record.arm), outcomes(record)
    held = Counter(map(ladder.bracket_of, record.configurations))
    now = plan(ladder, held, found)
    trials = _trials(record, ladder, found, now.needed)
    own: defaultdict[int, list[TrialView]] = defaultdict(list)
    for view in trials:
        own[view.trial.config].append(view)
    undecided = {
        (p.bracket, p.rung) for p in rung_progress(ladder, held, found) if p.known + p.void < p.slots
    }  # of these rungs nobody knows yet who is promoted

    def fate(config: int) -> Fate:
        if not (way := own[config]):
            return Fate.WAITING
        last = way[-1]
        rung = last.trial.rung
        if last.outcome is None:
            return Fate.UNDER_WAY
        if last.mean_return is None:
            return Fate.FAILED
        if rung == ladder.rungs:
            return Fate.COMPLETE
        open_above = ladder.slots(last.bracket, rung + 1) > 0 and (last.bracket, rung) in undecided
        return Fate.UNDER_WAY if open_above else Fate.PASSED_OVER

    courses = tuple(
        Course(config, ladder.bracket_of(config), values, fate(config), tuple(own[config]))
        for config, values in sorted(record.configurations.items())
    )
    return ArmView(record, trials, courses, now.complete, ticks or {})


def _trials(
    record: ArmRecord, ladder: Ladder, found: Mapping[Trial, Outcome], needed: tuple[Trial, ...]
) -> tuple[TrialView, ...]:
    """Every trial that has a result or is needed, in ladder order."""
    results = by_trial(record)
    clock, views = 0.0, []
    for trial in sorted({*results, *needed}, key=record.ladder_key):
        own = results.get(trial, [])
        starts, clock = clock, clock + sum(record.seconds.get(r.segment, 0.0) for r in own)
        rung = record.arm.rungs[trial.rung - 1]
        total = record.arm.env_steps_before(trial.rung) + rung.env_steps
        bracket = ladder.bracket_of(trial.config)
        views.append(TrialView(trial, bracket, rung.depth, total, found.get(trial), tuple(own), starts, clock))
    return tuple(views)
