"""Where an arm stands: rungs filling up, segments under way, the incumbent, what failed, the time left.

`ArmStatus`, as `dataclasses.asdict` gives it, is what `grownn status --json` prints: names here are a promise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from grownn_hpo.report.environments import EnvironmentShare, environment_shares
from grownn_hpo.report.incumbent import leaderboard
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.report.remaining import seconds_left
from grownn_hpo.search.ladder import Ladder, RungProgress, needed_segments, plan, rung_progress
from grownn_hpo.spec import Arm
from grownn_hpo.store import lease, paths
from grownn_hpo.store.arm import Bracket, configurations_of
from grownn_hpo.store.boundary import boundary_reached
from grownn_hpo.store.curve import Tick, read_ticks
from grownn_hpo.store.known import read_known
from grownn_hpo.store.ledger import Entry, Ledger
from grownn_hpo.store.paths import ArmFolder
from grownn_hpo.trial import Outcome, Segment, Status, Trial

PARTS = 48
"""A running segment's learning is told in so many equal parts of its env steps."""


@dataclass(frozen=True, slots=True)
class RungStatus:
    """One rung over all brackets: its slots within the budget, how many have an outcome, how many of those failed."""

    rung: int
    depth: int
    env_steps: int
    slots: int
    known: int
    failed: int


@dataclass(frozen=True, slots=True)
class Running:
    """A segment under way: its newest attempt (from 1), env steps done and to do in it, speed, recent training return.

    `learning` is the training return in each of `PARTS` equal parts of the segment, None where none is known (yet).
    """

    segment: Segment
    attempt: int
    env_steps: int
    of_env_steps: int
    env_steps_per_second: float | None
    mean_return: float | None
    learning: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Leader:
    """The incumbent: mean return and success rate over its seeds at its rung, and each seed's own return."""

    config: int
    rung: int
    mean_return: float
    success_rate: float | None
    returns: tuple[float, ...] = ()
    configuration: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class FailureStatus:
    """An attempt that failed, or a segment that diverged: why, and when in seconds since 1970 (None: unknown)."""

    segment: Segment
    cause: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class ArmStatus:
    """Where an arm stands.

    `folder` is where it lies; `evaluation` says whether it is a final evaluation. `brackets` are the rungs bracket by
    bracket, in ladder order. `failures` come in the order of time. `lost_attempts` left neither a result nor a failure:
    they were ended from outside, and count against nobody. `late_results` came after another of their segment had
    counted; `disagreements` says in words which of these differ. `seconds_left` is None while nobody can say,
    `driven_by` while nobody drives. `environments` are those that segments were computed in, none where there was only
    ever one.
    """

    study: str
    arm: str
    folder: str
    evaluation: bool
    complete: bool
    trials: int
    trials_known: int
    rungs: tuple[RungStatus, ...]
    brackets: tuple[RungProgress, ...]
    running: tuple[Running, ...]
    incumbent: Leader | None
    failures: tuple[FailureStatus, ...]
    lost_attempts: int
    late_results: int
    disagreements: tuple[str, ...]
    seconds_left: float | None
    driven_by: str | None
    environments: tuple[EnvironmentShare, ...] = ()


def read_status(folder: ArmFolder) -> ArmStatus:
    """The status of the arm in a folder, from its files alone."""
    known = read_known(folder)
    return arm_status(folder, known.arm, known.ledger, known.brackets, known.outcomes)


def arm_status(
    folder: ArmFolder,
    arm: Arm,
    ledger: Ledger,
    brackets: Mapping[int, Bracket],
    outcomes: Mapping[Trial, Outcome],
) -> ArmStatus:
    """The status of an arm of which this is known; only what is under way, and when, is looked up in the files.

    The ledger may be growing meanwhile, in the driver's thread.
    """
    entries = dict(ledger.entries)
    ladder = Ladder.of(arm)
    held = {number: len(bracket.configurations) for number, bracket in brackets.items()}
    now = plan(ladder, held, outcomes)
    progress = rung_progress(ladder, held, outcomes)
    rungs = tuple(
        RungStatus(
            rung=number,
            depth=rung.depth,
            env_steps=rung.env_steps,
            slots=sum(p.slots - p.void for p in progress if p.rung == number),
            known=sum(p.known for p in progress if p.rung == number),
            failed=sum(p.failed for p in progress if p.rung == number),
        )
        for number, rung in enumerate(arm.rungs, 1)
    )
    driven = lease.is_driven(folder.lease_file)
    under_way: tuple[Running, ...] = ()
    if driven:
        under_way = tuple(_running(folder, arm, needed_segments(now.needed, arm.seeds, entries.keys())))
    lost, late = _repeated(folder, ledger, entries)
    return ArmStatus(
        study=arm.study,
        arm=arm.name,
        folder=str(folder.root),
        evaluation=folder.is_evaluation,
        complete=now.complete,
        trials=arm.search.trials,
        trials_known=len(outcomes),
        rungs=rungs,
        brackets=progress,
        running=under_way,
        incumbent=_leader(arm, entries, brackets),
        failures=_failures(folder, ledger, entries),
        lost_attempts=lost,
        late_results=late,
        disagreements=tuple(ledger.disagreements),
        seconds_left=0.0 if now.complete else seconds_left(arm, entries, outcomes, progress, under_way),
        driven_by=lease.holder(folder.lease_file) if driven else None,
        environments=environment_shares(folder, entries),
    )


def _running(folder: ArmFolder, arm: Arm, needed: Iterable[Segment]) -> Iterable[Running]:
    since = folder.lease_file.stat().st_mtime  # what is older belongs to a driver that is gone
    for segment in needed:
        attempts = folder.attempts(segment)
        if not attempts or attempts[-1].stat().st_mtime < since:
            continue
        attempt = attempts[-1]
        if (attempt / paths.RESULT).exists() or (attempt / paths.FAILURE).exists():
            continue
        ticks = read_ticks(attempt)
        start, length = arm.env_steps_before(segment.rung), arm.rungs[segment.rung - 1].env_steps
        # From the first tick on: before it lie the start-up, and whatever an earlier attempt had trained.
        spent = ticks[-1].seconds - ticks[0].seconds if ticks else 0.0
        speed = (ticks[-1].env_steps - ticks[0].env_steps) / spent if spent > 0 else None
        reached = ticks[-1].env_steps if ticks else boundary_reached(folder, segment) or start
        # Up to where this attempt has got, the earlier ones said the same.
        seen = [t for each in attempts[:-1] for t in read_ticks(each) if t.env_steps <= reached]
        yield Running(
            segment=segment,
            attempt=int(attempt.name[1:]),
            env_steps=reached - start,
            of_env_steps=length,
            env_steps_per_second=speed,
            mean_return=_finite(ticks[-1].mean_return) if ticks else None,
            learning=_learning([*seen, *ticks], start, length),
        )


def _learning(ticks: Iterable[Tick], start: int, length: int) -> tuple[float | None, ...]:
    """The mean return of the ticks in each of `PARTS` equal parts of the `length` env steps after `start`."""
    parts: list[dict[int, float]] = [{} for _ in range(PARTS)]
    for tick in ticks:
        value, part = _finite(tick.mean_return), -(-(tick.env_steps - start) * PARTS // length) - 1
        if value is not None and 0 <= part < PARTS:
            parts[part][tick.env_steps] = value  # once, however many attempts went there
    return tuple(sum(v / len(part) for v in part.values()) if part else None for part in parts)  # none overflows


def _finite(value: float | None) -> float | None:
    """None for what JSON cannot hold: an environment may give any reward."""
    return value if value is not None and math.isfinite(value) else None


def _leader(arm: Arm, entries: Mapping[Segment, Entry], brackets: Mapping[int, Bracket]) -> Leader | None:
    board = leaderboard(ArmRecord(arm, results=tuple(entry.result for entry in entries.values())))
    if not board:
        return None
    standing, configurations = board[0], configurations_of(brackets, arm.rungs[0].configurations)
    return Leader(
        config=standing.trial.config,
        rung=standing.trial.rung,
        mean_return=standing.mean_return,
        success_rate=standing.success_rate,
        returns=standing.returns,
        configuration=configurations.get(standing.trial.config),
    )


def _failures(folder: ArmFolder, ledger: Ledger, entries: Mapping[Segment, Entry]) -> tuple[FailureStatus, ...]:
    found = []
    for segment, failures in [*ledger.failures.items()]:
        causes = [failure.cause for failure in failures]
        files = [file for attempt in folder.attempts(segment) if (file := attempt / paths.FAILURE).exists()]
        times = map(_written_at, files) if len(files) == len(causes) else [None] * len(causes)
        found += [FailureStatus(segment, *told) for told in zip(causes, times, strict=True)]
    for segment, entry in entries.items():
        if entry.result.status is Status.DIVERGED:
            at = _written_at(folder.segment(segment) / entry.attempt / paths.RESULT)
            found.append(FailureStatus(segment, f"diverged, {entry.result.detail}", at))
    return tuple(sorted(found, key=lambda failure: (failure.at or 0.0, failure.segment)))


def _written_at(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # cleaned away since
        return None


def _repeated(folder: ArmFolder, ledger: Ledger, entries: Mapping[Segment, Entry]) -> tuple[int, int]:
    """How many attempts left nothing, and how many results came late. A newest attempt may be under way still."""
    lost = late = 0
    for segment in sorted(ledger.repeated):
        attempts = folder.attempts(segment)
        results = [(attempt / paths.RESULT).exists() for attempt in attempts]
        left = [done or (attempt / paths.FAILURE).exists() for done, attempt in zip(results, attempts, strict=True)]
        lost += left.count(False) - (segment not in entries and not left[-1])
        late += max(0, sum(results) - 1)
    return lost, late
